//! SQLite: a file of this machine. Integers that fit 64 bits are INTEGER, other numbers REAL if that keeps every digit and
//! else TEXT; objects and lists are JSON text.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use serde_json::{Map, Value, json};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, ConnectOptions as _, Row, TypeInfo, ValueRef};

use super::{Rows, Work, bytes_of, exact};
use crate::connector::{Class, Failure};

pub(super) async fn open(work: &Work<'_>, path: &Path, setup: &str) -> Result<SqlitePool, Failure> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A step that has ended must have its row even if the power goes.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await;
    let pool = pool.map_err(|error| failure(work, &error))?;
    if !setup.trim().is_empty() {
        let done = sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&pool).await;
        done.map_err(|error| failure(work, &error))?;
    }
    Ok(pool)
}

pub(super) async fn execute(pool: &SqlitePool, work: &Work<'_>, sql: &str, params: &[Value]) -> Result<u64, Failure> {
    let arguments = bind(work, params)?;
    work.sends();
    let done = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments).execute(pool).await;
    Ok(done.map_err(|error| failure(work, &error))?.rows_affected())
}

pub(super) async fn query(
    pool: &SqlitePool,
    work: &Work<'_>,
    sql: &str,
    params: &[Value],
    rows: &mut Rows<'_>,
) -> Result<(), Failure> {
    let arguments = bind(work, params)?;
    work.sends();
    let mut stream = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments).fetch(pool);
    while let Some(row) = stream.try_next().await.map_err(|error| failure(work, &error))? {
        rows.push(object(&row).map_err(|error| failure(work, &error))?)?;
    }
    Ok(())
}

fn bind(work: &Work<'_>, values: &[Value]) -> Result<SqliteArguments, Failure> {
    use sqlx::Arguments as _;
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(flag) => arguments.add(*flag),
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(_) | Value::Object(_) => match bytes_of(value) {
                Some(bytes) => arguments.add(bytes?),
                None => arguments.add(value.to_string()),
            },
            Value::Number(number) => match (number.as_i64(), exact(number)) {
                (Some(whole), _) => arguments.add(whole),
                (None, Some(real)) => arguments.add(real),
                (None, None) => arguments.add(number.to_string()),
            },
        };
        added.map_err(|error| {
            work.failed(Class::Permanent, "sql.input", &format!("a parameter cannot be bound: {error}"))
        })?;
    }
    Ok(arguments)
}

fn object(row: &SqliteRow) -> Result<Map<String, Value>, sqlx::Error> {
    let mut object = Map::new();
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index)?;
        let kind = raw.type_info().name().to_owned();
        let value = match kind.as_str() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" | "BOOLEAN" => json!(row.try_get_unchecked::<i64, _>(index)?),
            "REAL" => json!(row.try_get_unchecked::<f64, _>(index)?),
            "BLOB" => json!(STANDARD.encode(row.try_get_unchecked::<Vec<u8>, _>(index)?)),
            _ => json!(row.try_get_unchecked::<String, _>(index)?),
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}

/// What a refusal means. SQLite is on this machine and undoes what fails, so nothing is in doubt.
fn failure(work: &Work<'_>, error: &sqlx::Error) -> Failure {
    let make = |class: Class, code: &str, why: &str| work.failed(class, code, why);
    match error {
        sqlx::Error::Database(refused) => {
            let code = refused.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            let text = refused.message();
            // The low byte is the primary code.
            match code & 0xff {
                // BUSY, LOCKED, IOERR, FULL
                5 | 6 | 10 | 13 => make(Class::Retry, "sql.unavailable", text),
                // CANTOPEN, READONLY, PERM, NOTADB, CORRUPT: a person must mend the file.
                14 | 8 | 3 | 26 | 11 => make(Class::Held, "sql.file", &format!("{text}; mend the connection's file")),
                19 => make(Class::Permanent, "sql.constraint", text),
                _ if text.contains("ON CONFLICT clause does not match") => make(
                    Class::Permanent,
                    "sql.key_column",
                    "the key columns must be PRIMARY KEY or UNIQUE in the table",
                ),
                _ => make(Class::Permanent, "sql.statement", text),
            }
        }
        sqlx::Error::PoolTimedOut => make(Class::Retry, "sql.unavailable", "no free connection in time"),
        sqlx::Error::Io(error) => make(Class::Retry, "sql.unavailable", &error.to_string()),
        other => make(Class::Permanent, "sql.statement", &other.to_string()),
    }
}
