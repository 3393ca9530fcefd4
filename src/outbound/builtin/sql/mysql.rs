//! MariaDB and MySQL. They do not say which type a parameter has, so a value is bound by what it is in JSON; numbers that
//! neither 64 bits nor a float hold exactly go as text, which the server reads with every digit.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sqlx::mysql::{
    MySql, MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions,
    MySqlRow, MySqlSslMode,
};
use sqlx::pool::PoolConnection;
use sqlx::{Arguments as _, AssertSqlSafe, Column, ConnectOptions as _, Executor, Row, TypeInfo as _, ValueRef as _};

use super::super::super::Inner;
use super::bridge::Bridge;
use super::place::Server;
use super::pools::{IDLE, size};
use super::statement::Insert;
use super::{Rows, Work, bytes_of, connection, exact};
use crate::connector::{Class, Failure};
use crate::mapping::parse_json;

pub(super) struct Db {
    pool: MySqlPool,
    /// None for a socket of this machine.
    bridge: Option<Bridge>,
    /// Tables with key columns that are known to be unique.
    unique: Mutex<HashSet<String>>,
}

pub(super) async fn open(
    inner: &Inner,
    work: &Work<'_>,
    server: &Server,
    password: Option<&SecretString>,
    setup: &str,
) -> Result<Db, Failure> {
    let bridge = match server.socket {
        Some(_) => None,
        None => Some(Bridge::open(inner, &server.host, server.port, "")?),
    };
    let mut options = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.database)
        .ssl_mode(if server.tls { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::Disabled })
        .disable_statement_logging();
    if let Some(password) = password {
        options = options.password(password.expose_secret());
    }
    if let Some(pem) = &inner.client.roots {
        options = options.ssl_ca_from_pem(pem.to_vec());
    }
    if let Some(path) = server.socket.as_ref().or(bridge.as_ref().map(|bridge| &bridge.path)) {
        options = options.socket(path);
    }
    let pool = MySqlPoolOptions::new()
        .max_connections(size(connection(work.call)?))
        .idle_timeout(IDLE)
        .acquire_timeout(Duration::from_secs(60))
        .connect_lazy_with(options);
    let db = Db { pool, bridge, unique: Mutex::default() };
    if !setup.trim().is_empty() {
        let mut connection = acquire(&db, work).await?;
        let done = sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&mut *connection).await;
        done.map_err(|error| failure(work, &error))?;
    }
    Ok(db)
}

async fn acquire(db: &Db, work: &Work<'_>) -> Result<PoolConnection<MySql>, Failure> {
    let acquired = db.pool.acquire().await;
    let mut connection = acquired.map_err(|error| match (&error, db.bridge.as_ref().and_then(Bridge::failure)) {
        (sqlx::Error::Database(_) | sqlx::Error::Tls(_), _) | (_, None) => failure(work, &error),
        (_, Some(dialled)) => dialled,
    })?;
    // MariaDB bounds every statement, MySQL reads alone; each skips what is the other's.
    let limit = work.statement_ms();
    let limit = format!(
        "SET @millstream = 1 /*M!100101 , max_statement_time = {}.{:03} */ /*!50704 , max_execution_time = {limit} */",
        limit / 1000,
        limit % 1000
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(limit))).await.map_err(|error| failure(work, &error))?;
    Ok(connection)
}

pub(super) async fn execute(db: &Db, work: &Work<'_>, sql: &str, params: &[Value]) -> Result<u64, Failure> {
    let mut connection = acquire(db, work).await?;
    run(work, &mut connection, sql, params.iter()).await?.map_err(|error| failure(work, &error))
}

/// Rows that the statement concerned; the database's own refusal apart from all others.
async fn run<'v>(
    work: &Work<'_>,
    connection: &mut MySqlConnection,
    sql: &str,
    params: impl Iterator<Item = &'v Value>,
) -> Result<Result<u64, sqlx::Error>, Failure> {
    let arguments = bind(work, params)?;
    work.sends();
    let done = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments).execute(connection).await;
    Ok(done.map(|done| done.rows_affected()))
}

/// The database cannot be told which key a conflict is about, so it is found out: another unique column's conflict is an error.
pub(super) async fn insert(db: &Db, work: &Work<'_>, insert: &Insert) -> Result<u64, Failure> {
    let mut connection = acquire(db, work).await?;
    let failed = |error: sqlx::Error| failure(work, &error);
    if !insert.keys.is_empty() {
        known_as_unique(db, work, &mut connection, insert).await?;
    }
    let same: Vec<String> = insert.own().map(|(column, _)| format!("{column} = ?")).collect();
    let same = same.join(" AND ");
    let changes: Vec<String> = insert.others().map(|(column, _)| format!("{column} = ?")).collect();
    let table = &insert.table;
    let change = format!("UPDATE {table} SET {} WHERE {same}", changes.join(", "));
    let upsert = insert.upsert && !changes.is_empty();
    let values = || insert.others().chain(insert.own()).map(|(_, value)| value);
    if upsert && let changed @ 1.. = run(work, &mut connection, &change, values()).await?.map_err(failed)? {
        return Ok(changed);
    }
    let statement = insert.statement(super::place::Kind::MySql);
    let refused = match run(work, &mut connection, &statement, insert.values.iter()).await? {
        Ok(inserted) => return Ok(inserted),
        Err(error) if number(&error) == Some(1062) && !insert.keys.is_empty() => error,
        Err(error) => return Err(failed(error)),
    };
    // Another call was first, or another column is unique too.
    let there = if upsert {
        run(work, &mut connection, &change, values()).await?.map_err(failed)?
    } else {
        let arguments = bind(work, insert.own().map(|(_, value)| value))?;
        let ask = AssertSqlSafe(format!("SELECT 1 FROM {table} WHERE {same} LIMIT 1"));
        let found = sqlx::query_with(ask, arguments).fetch_optional(&mut *connection).await.map_err(failed)?;
        return if found.is_some() { Ok(0) } else { Err(failed(refused)) };
    };
    if there > 0 { Ok(there) } else { Err(failed(refused)) }
}

/// The keys must be all columns of a unique index, else a repeat would be a second row.
async fn known_as_unique(
    db: &Db,
    work: &Work<'_>,
    connection: &mut MySqlConnection,
    insert: &Insert,
) -> Result<(), Failure> {
    let name = format!("{}\n{}", insert.table, insert.keys.join("\n"));
    if db.unique.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
        return Ok(());
    }
    let bare = |quoted: &str| quoted.trim_matches('`').replace("``", "`");
    let ask = AssertSqlSafe(format!("SHOW INDEX FROM {}", insert.table));
    let indexes = sqlx::query(ask).fetch_all(connection).await.map_err(|error| failure(work, &error))?;
    let mut columns: std::collections::HashMap<String, Vec<String>> = std::collections::HashMap::new();
    for index in &indexes {
        let text = |name: &str| index.try_get_unchecked::<String, _>(name).map_err(|error| failure(work, &error));
        let several: i64 = index.try_get_unchecked("Non_unique").map_err(|error| failure(work, &error))?;
        if several == 0 {
            columns.entry(text("Key_name")?).or_default().push(text("Column_name")?.to_lowercase());
        }
    }
    let mut keys: Vec<String> = insert.keys.iter().map(|key| bare(key).to_lowercase()).collect();
    keys.sort();
    let unique = columns.into_values().any(|mut columns| {
        columns.sort();
        columns == keys
    });
    if !unique {
        let why = "the key columns must be PRIMARY KEY or UNIQUE together in the table";
        return Err(work.failed(Class::Permanent, "sql.key_column", why));
    }
    db.unique.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    Ok(())
}

pub(super) async fn query(
    db: &Db,
    work: &Work<'_>,
    sql: &str,
    params: &[Value],
    rows: &mut Rows<'_>,
) -> Result<(), Failure> {
    let mut connection = acquire(db, work).await?;
    let arguments = bind(work, params.iter())?;
    work.sends();
    let mut stream = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments).fetch(&mut *connection);
    while let Some(row) = stream.try_next().await.map_err(|error| failure(work, &error))? {
        rows.push(object(work, &row)?)?;
    }
    Ok(())
}

fn bind<'v>(work: &Work<'_>, values: impl Iterator<Item = &'v Value>) -> Result<MySqlArguments, Failure> {
    let mut arguments = MySqlArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(flag) => arguments.add(*flag),
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(_) | Value::Object(_) => match bytes_of(value) {
                Some(bytes) => arguments.add(bytes?),
                None => arguments.add(value.to_string()),
            },
            Value::Number(number) => match (number.as_i64(), number.as_u64(), exact(number)) {
                (Some(whole), _, _) => arguments.add(whole),
                (None, Some(whole), _) => arguments.add(whole),
                (None, None, Some(real)) => arguments.add(real),
                (None, None, None) => arguments.add(number.to_string()),
            },
        };
        added.map_err(|error| {
            work.failed(Class::Permanent, "sql.input", &format!("a parameter cannot be bound: {error}"))
        })?;
    }
    Ok(arguments)
}

fn object(work: &Work<'_>, row: &MySqlRow) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for (index, column) in row.columns().iter().enumerate() {
        let broken = |why: &str| {
            let why = format!("the column `{}` {why}; select it as text, as in CAST(… AS CHAR)", column.name());
            work.failed(Class::Permanent, "sql.value", &why)
        };
        let raw = row.try_get_raw(index).map_err(|error| failure(work, &error))?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            let info = raw.type_info().into_owned();
            let bytes = row.try_get_unchecked::<&[u8], _>(index).map_err(|error| failure(work, &error))?;
            read(info.name(), <str as sqlx::Type<MySql>>::compatible(&info), bytes)
                .ok_or_else(|| broken("cannot be read"))?
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}

/// A value in the binary form of the protocol; `None` if it is none of this type.
fn read(name: &str, is_text: bool, bytes: &[u8]) -> Option<Value> {
    let little = |signed: bool| -> Option<i128> {
        let mut whole = [if signed && bytes.last()? & 0x80 != 0 { 0xff } else { 0 }; 16];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(i128::from_le_bytes(whole))
    };
    let text = || Some(Value::from(std::str::from_utf8(bytes).ok()?));
    Some(match name {
        "TINYINT" | "BOOLEAN" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            json!(i64::try_from(little(true)?).ok()?)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED"
        | "YEAR" => {
            json!(u64::try_from(little(false)?).ok()?)
        }
        "FLOAT" => Value::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        "DOUBLE" => json!(f64::from_le_bytes(bytes.try_into().ok()?)),
        "DECIMAL" => parse_json(bytes).ok()?,
        "DATE" | "DATETIME" | "TIMESTAMP" => Value::from(day(name, bytes)?),
        "TIME" => Value::from(time(bytes)?),
        "JSON" => parse_json(bytes).ok()?,
        "BIT" => {
            json!(bytes.iter().try_fold(0u64, |all, byte| all.checked_mul(256).map(|all| all | u64::from(*byte)))?)
        }
        "GEOMETRY" => return None,
        _ if is_text => text()?,
        _ => Value::from(STANDARD.encode(bytes)),
    })
}

/// TIMESTAMP is a moment, read in UTC; DATETIME has no zone. The first byte says how many follow.
fn day(name: &str, bytes: &[u8]) -> Option<String> {
    let [_, low, high, month, day, rest @ ..] = bytes else { return None };
    let year = u16::from_le_bytes([*low, *high]);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if name == "DATE" {
        return Some(date);
    }
    let zone = if name == "TIMESTAMP" { "Z" } else { "" };
    let [hour, minute, second, micros @ ..] = rest else { return Some(format!("{date}T00:00:00{zone}")) };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{}{zone}", fraction(micros)?))
}

fn time(bytes: &[u8]) -> Option<String> {
    let [_, negative, d1, d2, d3, d4, hours, minute, second, micros @ ..] = bytes else {
        return (bytes == [0]).then(|| "00:00:00".to_owned());
    };
    let hours = u32::from_le_bytes([*d1, *d2, *d3, *d4]).checked_mul(24)?.checked_add(u32::from(*hours))?;
    let sign = if *negative == 0 { "" } else { "-" };
    Some(format!("{sign}{hours:02}:{minute:02}:{second:02}{}", fraction(micros)?))
}

fn fraction(micros: &[u8]) -> Option<String> {
    if micros.is_empty() {
        return Some(String::new());
    }
    let digits = format!("{:06}", u32::from_le_bytes(micros.try_into().ok()?));
    let digits = digits.trim_end_matches('0');
    Some(if digits.is_empty() { String::new() } else { format!(".{digits}") })
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let sqlx::Error::Database(refused) = error else { return None };
    refused.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// What an error means, by its number. A statement that fails is undone by the server, where its engine can.
fn failure(work: &Work<'_>, error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(refused) = error else { return work.broken(error) };
    let number = number(error).unwrap_or(0);
    let said = format!("{} [{number}]", refused.message());
    let make = |class: Class, code: &str| work.failed(class, code, &said);
    match number {
        // Access denied: to the server, a database, a table, a column, for lack of a right.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => make(Class::Held, "sql.auth"),
        // No such database; this host may not connect.
        1049 | 1130 => make(Class::Held, "sql.url"),
        // A deadlock, a lock that took too long.
        1205 | 1213 => make(Class::Retry, "sql.conflict"),
        // Interrupted, by the time that a statement may take.
        1317 | 1969 | 3024 => make(Class::Retry, "sql.timeout"),
        // Duplicate, null, foreign keys, checks.
        1022 | 1048 | 1062 | 1169 | 1216 | 1217 | 1364 | 1451 | 1452 | 1586 | 3819 | 4025 => {
            make(Class::Permanent, "sql.constraint")
        }
        // Full, too many connections, read-only for now.
        1021 | 1040 | 1041 | 1114 | 1203 | 1226 | 1290 | 1836 => make(Class::Retry, "sql.unavailable"),
        // Going down in the middle of it.
        1053 | 1079 | 1080 => make(Class::Unknown, "outbound.connection_lost"),
        _ => make(Class::Permanent, "sql.statement"),
    }
}
