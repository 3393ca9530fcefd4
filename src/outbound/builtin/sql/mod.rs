//! `sql`: rows of SQLite, PostgreSQL, MariaDB and MySQL. The connection's `url` says which.
//!
//! Values are always bound, never part of a statement's text. Until a statement is sent nothing can have happened; a server
//! that is lost while it works leaves the call in doubt, and so a write says how a repeat is known: `key_column`, `key_columns`.

mod bridge;
mod mysql;
mod pg_value;
mod place;
mod pools;
mod postgres;
mod sqlite;
mod statement;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Number, Value, json};
use tokio::time::{Instant, timeout_at};

use self::place::{Kind, Place};
use self::pools::Pool;
pub(crate) use self::pools::Pools;
use self::statement::Insert;
use super::super::{Call, Inner};
use crate::connector::{Class, Connection, Failure, shorten};

/// Most rows of one query.
const MOST_ROWS: usize = 10_000;

/// One call on its way.
struct Work<'c> {
    call: &'c Call<'c>,
    deadline: Instant,
    /// Whether the statement may have reached the database.
    sent: AtomicBool,
}

impl Work<'_> {
    /// For the server, which ends the statement by itself a little before the call ends, and undoes it.
    fn statement_ms(&self) -> u128 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        (left.mul_f64(0.9)).max(Duration::from_millis(1)).as_millis()
    }

    /// From here on the call may have happened.
    fn sends(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }

    fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    fn failed(&self, class: Class, code: &str, why: &str) -> Failure {
        Failure::new(class, code, format!("{}: {}", self.call.name(), shorten(why)))
    }

    /// What an error that is not the database's own says: of the pool, the connection, the driver.
    fn broken(&self, error: &sqlx::Error) -> Failure {
        match error {
            sqlx::Error::PoolTimedOut => self.failed(Class::Retry, "sql.unavailable", "no free connection in time"),
            sqlx::Error::Tls(error) => {
                let why =
                    format!("the TLS connection failed: {error}; a private authority goes into `outbound.ca_file`");
                self.failed(Class::Permanent, "outbound.tls", &why)
            }
            // The handshake's error comes as one of the stream.
            sqlx::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                let why =
                    format!("the TLS connection failed: {error}; a private authority goes into `outbound.ca_file`");
                self.failed(Class::Permanent, "outbound.tls", &why)
            }
            sqlx::Error::Encode(error) => self.failed(Class::Permanent, "sql.input", &error.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                self.failed(Class::Permanent, "sql.value", &error.to_string())
            }
            _ if self.is_sent() => {
                let why = format!("the connection was lost while the database worked: {error}");
                self.failed(Class::Unknown, "outbound.connection_lost", &why)
            }
            _ => self.failed(Class::Retry, "sql.unavailable", &format!("no connection: {error}")),
        }
    }
}

/// Rows as they come, up to what an output may hold.
struct Rows<'w> {
    work: &'w Work<'w>,
    rows: Vec<Value>,
    bytes: usize,
}

impl Rows<'_> {
    fn push(&mut self, row: Map<String, Value>) -> Result<(), Failure> {
        let row = Value::Object(row);
        let limit = self.work.call.output_limit;
        self.bytes += row.to_string().len() + 1;
        if self.bytes > limit || self.rows.len() >= MOST_ROWS {
            let what = format!("the query gives more than {MOST_ROWS} rows or {limit} bytes; add a LIMIT");
            return Err(Failure::new(Class::Permanent, "outbound.response_too_large", what));
        }
        self.rows.push(row);
        Ok(())
    }
}

fn connection<'c>(call: &Call<'c>) -> Result<&'c Connection, Failure> {
    call.connection.map(|connection| &**connection).ok_or_else(|| {
        let what = format!("`{}` needs a connection", call.name());
        Failure::new(Class::Held, "connector.no_connection", what)
    })
}

fn params<'c>(call: &Call<'c>) -> &'c [Value] {
    call.input.get("params").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    if matches!(call.action, "insert" | "upsert") {
        let kind = Place::of(connection(call)?)?.kind();
        let insert = Insert::of(call, kind)?;
        let parameters: Map<String, Value> = insert
            .columns
            .iter()
            .map(|name| name.trim_matches(['"', '`']).to_owned())
            .zip(insert.values.clone())
            .collect();
        return Ok(json!({"statement": insert.statement(kind), "parameters": parameters}));
    }
    Ok(json!({"statement": call.input.get("sql"), "parameters": params(call)}))
}

pub(super) async fn perform(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let place = Place::of(connection(call)?)?;
    let work = Work { call, deadline: Instant::now() + call.timeout(), sent: AtomicBool::new(false) };
    let done = timeout_at(work.deadline, async {
        let insert = match call.action {
            "insert" | "upsert" => Some(Insert::of(call, place.kind())?),
            _ => None,
        };
        let pool = inner.pools.get(inner, &work, &place).await?;
        match insert {
            Some(insert) => {
                let affected = insert_into(&pool, &work, &insert).await?;
                Ok(if insert.upsert {
                    json!({"affected": affected})
                } else {
                    json!({"inserted": affected > 0, "key": insert.key})
                })
            }
            None => {
                let sql = call.input.get("sql").and_then(Value::as_str).unwrap_or_default();
                if call.action == "execute" {
                    return Ok(json!({"affected": execute(&pool, &work, sql, params(call)).await?}));
                }
                let mut rows = Rows { work: &work, rows: Vec::new(), bytes: 0 };
                match &*pool {
                    Pool::Sqlite(pool) => sqlite::query(pool, &work, sql, params(call), &mut rows).await?,
                    Pool::Postgres(pool) => postgres::query(pool, &work, sql, params(call), &mut rows).await?,
                    Pool::MySql(pool) => mysql::query(pool, &work, sql, params(call), &mut rows).await?,
                }
                Ok(json!({"rows": rows.rows}))
            }
        }
    })
    .await;
    done.unwrap_or_else(|_| {
        if work.is_sent() {
            Err(work.failed(Class::Unknown, "outbound.timeout", "it did not end in time, and may have happened"))
        } else {
            Err(work.failed(Class::Retry, "sql.unavailable", "no connection in time; nothing was sent"))
        }
    })
}

async fn insert_into(pool: &Pool, work: &Work<'_>, insert: &Insert) -> Result<u64, Failure> {
    match pool {
        Pool::Sqlite(_) => execute(pool, work, &insert.statement(Kind::Sqlite), &insert.values).await,
        Pool::Postgres(_) => execute(pool, work, &insert.statement(Kind::Postgres), &insert.values).await,
        Pool::MySql(pool) => mysql::insert(pool, work, insert).await,
    }
}

async fn execute(pool: &Pool, work: &Work<'_>, sql: &str, params: &[Value]) -> Result<u64, Failure> {
    match pool {
        Pool::Sqlite(pool) => sqlite::execute(pool, work, sql, params).await,
        Pool::Postgres(pool) => postgres::execute(pool, work, sql, params).await,
        Pool::MySql(pool) => mysql::execute(pool, work, sql, params).await,
    }
}

/// The number as a float, if no digit of its text is lost by that.
fn exact(number: &Number) -> Option<f64> {
    let real: f64 = number.as_f64()?;
    let text = number.to_string();
    (real.is_finite() && Number::from_f64(real)?.to_string() == text).then_some(real)
}

/// The bytes of `{base64: "…"}`, the form of a value that is neither text nor number.
fn bytes_of(value: &Value) -> Option<Result<Vec<u8>, Failure>> {
    use base64::Engine as _;
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let encoded = object.get("base64")?.as_str()?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    Some(
        decoded.map_err(|_| {
            Failure::new(Class::Permanent, "sql.input", "the `base64` of a value is not base64".to_owned())
        }),
    )
}
