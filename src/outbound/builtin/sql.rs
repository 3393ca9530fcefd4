//! `sql.insert` and `sql.query`. The URL's scheme says which database; so far SQLite.
//!
//! Values are always bound, never part of a statement's text. Integers that fit 64 bits are INTEGER, other numbers REAL
//! if that keeps every digit and else TEXT; objects and lists are JSON text.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use serde_json::{Map, Number, Value, json};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use super::super::{Call, Inner};
use crate::connector::{Class, Connection, Failure};

/// Most rows of one query.
const MOST_ROWS: usize = 10_000;

/// Open databases, by connection.
#[derive(Default)]
pub(crate) struct Pools {
    open: Mutex<HashMap<String, Arc<OnceCell<SqlitePool>>>>,
}

impl Pools {
    async fn get(&self, call: &Call<'_>) -> Result<SqlitePool, Failure> {
        let connection = call.connection.ok_or_else(|| {
            let what = format!("`{}` needs a connection", call.name());
            Failure::new(Class::Held, "connector.no_connection", what)
        })?;
        let setup = connection.settings.get("setup").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (options, place) = options(connection)?;
        let key = format!("{place}\n{setup}");
        let cell = self.open.lock().await.entry(key).or_default().clone();
        let pool = cell.get_or_try_init(|| open(options, &setup)).await;
        pool.cloned().map_err(|error| failure(call, &error))
    }
}

fn options(connection: &Connection) -> Result<(SqliteConnectOptions, String), Failure> {
    let url = connection.settings.get("url").and_then(Value::as_str).unwrap_or_default();
    let wrong = |why: &str| {
        let what =
            format!("`url` of the connection `{}` {why}; write sqlite:PATH, as in sqlite:leads.db", connection.name);
        Failure::new(Class::Held, "sql.url", what)
    };
    let Some(path) = url.strip_prefix("sqlite:") else {
        return Err(wrong("names a database that this Millstream does not speak to"));
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(':') {
        return Err(wrong("names no file"));
    }
    let path = connection.dir.join(path);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A step that has ended must have its row even if the power goes.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10));
    Ok((options, path.to_string_lossy().into_owned()))
}

async fn open(options: SqliteConnectOptions, setup: &str) -> Result<SqlitePool, sqlx::Error> {
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
    if !setup.trim().is_empty() {
        sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&pool).await?;
    }
    Ok(pool)
}

/// An INSERT with its values, in order.
struct Insert {
    statement: String,
    columns: Vec<(String, Value)>,
    key: Value,
}

fn prepared(call: &Call<'_>) -> Result<Insert, Failure> {
    let table = call.input.get("table").and_then(Value::as_str).unwrap_or_default();
    let row = call.input.get("row").and_then(Value::as_object);
    let key_column = call.input.get("key_column").and_then(Value::as_str);
    let mut columns: Vec<(String, Value)> =
        row.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut key = Value::Null;
    let mut conflict = String::new();
    if let Some(name) = key_column {
        conflict = format!(" ON CONFLICT ({}) DO NOTHING", quoted(name)?);
        let own = columns.iter().find(|(known, value)| known.eq_ignore_ascii_case(name) && !value.is_null());
        match own {
            Some((_, value)) => key = value.clone(),
            None => {
                columns.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                key = json!(call.key.to_string());
                columns.push((name.to_owned(), key.clone()));
            }
        }
    }
    let names: Result<Vec<String>, Failure> = columns.iter().map(|(name, _)| quoted(name)).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let statement = format!("INSERT INTO {} ({}) VALUES ({marks}){conflict}", quoted(table)?, names?.join(", "));
    Ok(Insert { statement, columns, key })
}

/// A name as an identifier; the quotes make any name harmless.
fn quoted(name: &str) -> Result<String, Failure> {
    if name.is_empty() || name.contains('\0') {
        let what = "a table's or column's name is empty or holds a NUL";
        return Err(Failure::new(Class::Permanent, "sql.input", what));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    if call.action == "insert" {
        let insert = prepared(call)?;
        let parameters: Map<String, Value> = insert.columns.into_iter().collect();
        return Ok(json!({"statement": insert.statement, "parameters": parameters}));
    }
    Ok(json!({"statement": call.input.get("sql"), "parameters": call.input.get("params").unwrap_or(&json!([]))}))
}

pub(super) async fn insert(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let insert = prepared(call)?;
    let arguments = bind(call, insert.columns.iter().map(|(_, value)| value))?;
    in_time(call, async {
        let pool = inner.pools.get(call).await?;
        let done = sqlx::query_with(AssertSqlSafe(insert.statement), arguments).execute(&pool).await;
        let done = done.map_err(|error| failure(call, &error))?;
        Ok(json!({"inserted": done.rows_affected() > 0, "key": insert.key}))
    })
    .await
}

pub(super) async fn query(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let sql = call.input.get("sql").and_then(Value::as_str).unwrap_or_default().to_owned();
    let params = call.input.get("params").and_then(Value::as_array);
    let arguments = bind(call, params.into_iter().flatten())?;
    in_time(call, async {
        let pool = inner.pools.get(call).await?;
        let mut stream = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch(&pool);
        let mut rows = Vec::new();
        let mut size = 0;
        while let Some(row) = stream.try_next().await.map_err(|error| failure(call, &error))? {
            let row = object(&row).map_err(|error| failure(call, &error))?;
            size += row.to_string().len() + 1;
            if size > call.output_limit || rows.len() >= MOST_ROWS {
                let limit = call.output_limit;
                let what = format!("the query gives more than {MOST_ROWS} rows or {limit} bytes; add a LIMIT");
                return Err(Failure::new(Class::Permanent, "outbound.response_too_large", what));
            }
            rows.push(row);
        }
        Ok(json!({"rows": rows}))
    })
    .await
}

async fn in_time<T>(call: &Call<'_>, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(call.timeout(), work).await.unwrap_or_else(|_| {
        let what = format!("`{}` did not end in time, and may have happened", call.name());
        Err(Failure::new(Class::Unknown, "outbound.timeout", what))
    })
}

fn bind<'v>(call: &Call<'_>, values: impl Iterator<Item = &'v Value>) -> Result<SqliteArguments, Failure> {
    use sqlx::Arguments as _;
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(flag) => arguments.add(*flag),
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(_) | Value::Object(_) => arguments.add(value.to_string()),
            Value::Number(number) => match (number.as_i64(), exact(number)) {
                (Some(whole), _) => arguments.add(whole),
                (None, Some(real)) => arguments.add(real),
                (None, None) => arguments.add(number.to_string()),
            },
        };
        added.map_err(|error| {
            let what = format!("a parameter of `{}` cannot be bound: {error}", call.name());
            Failure::new(Class::Permanent, "sql.input", what)
        })?;
    }
    Ok(arguments)
}

/// The number as a float, if no digit of its text is lost by that.
fn exact(number: &Number) -> Option<f64> {
    let real: f64 = number.as_f64()?;
    let text = number.to_string();
    (real.is_finite() && Number::from_f64(real)?.to_string() == text).then_some(real)
}

fn object(row: &SqliteRow) -> Result<Value, sqlx::Error> {
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
    Ok(Value::Object(object))
}

/// What a database's refusal means. SQLite is on this machine and undoes what fails, so nothing is in doubt.
fn failure(call: &Call<'_>, error: &sqlx::Error) -> Failure {
    let name = call.name();
    let make = |class: Class, code: &str, why: String| Failure::new(class, code, format!("{name}: {why}"));
    match error {
        sqlx::Error::Database(refused) => {
            let code = refused.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            let text = refused.message();
            // The low byte is the primary code.
            match code & 0xff {
                // BUSY, LOCKED, IOERR, FULL
                5 | 6 | 10 | 13 => make(Class::Retry, "sql.unavailable", text.to_owned()),
                // CANTOPEN, READONLY, PERM, NOTADB, CORRUPT: a person must mend the file.
                14 | 8 | 3 | 26 | 11 => make(Class::Held, "sql.file", format!("{text}; mend the connection's file")),
                19 => make(Class::Permanent, "sql.constraint", text.to_owned()),
                _ if text.contains("ON CONFLICT clause does not match") => make(
                    Class::Permanent,
                    "sql.key_column",
                    "`key_column` must be PRIMARY KEY or UNIQUE in the table".into(),
                ),
                _ => make(Class::Permanent, "sql.statement", text.to_owned()),
            }
        }
        sqlx::Error::PoolTimedOut => make(Class::Retry, "sql.unavailable", "no free connection in time".into()),
        sqlx::Error::Io(error) => make(Class::Retry, "sql.unavailable", error.to_string()),
        other => make(Class::Permanent, "sql.statement", other.to_string()),
    }
}
