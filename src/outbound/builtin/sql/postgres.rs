//! PostgreSQL. Each parameter is sent as text and cast by the server to the type that it says it wants there, so every type
//! that has a text form can be written, with every digit; values are read in the server's binary form (`pg_value`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgDatabaseError, PgPool, PgPoolOptions, PgRow, PgSslMode, PgTypeInfo,
    PgTypeKind,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column, ConnectOptions as _, Connection as _, Either, Executor, Postgres, Row,
    SqlSafeStr as _, Statement as _, ValueRef as _,
};

use super::super::super::Inner;
use super::bridge::Bridge;
use super::place::Server;
use super::pools::{IDLE, size};
use super::statement::{Pieces, pieces};
use super::{Rows, Work, bytes_of, connection, pg_value};
use crate::connector::{Class, Failure};

/// Types that are parameters most often, by their OIDs. Those with a length would cut what is cast to them (`bpchar` as
/// `character` is one letter), so they are called by the name that has none.
const TYPES: [(u32, &str); 35] = [
    (16, "bool"),
    (17, "bytea"),
    (19, "name"),
    (20, "int8"),
    (21, "int2"),
    (23, "int4"),
    (25, "text"),
    (26, "oid"),
    (114, "json"),
    (142, "xml"),
    (199, "json[]"),
    (700, "float4"),
    (701, "float8"),
    (869, "inet"),
    (1000, "bool[]"),
    (1001, "bytea[]"),
    (1005, "int2[]"),
    (1007, "int4[]"),
    (1009, "text[]"),
    (1014, "bpchar[]"),
    (1015, "varchar[]"),
    (1016, "int8[]"),
    (1022, "float8[]"),
    (1042, "bpchar"),
    (1043, "varchar"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1231, "numeric[]"),
    (1560, "varbit"),
    (1561, "varbit[]"),
    (1700, "numeric"),
    (2950, "uuid"),
    (3802, "jsonb"),
];

pub(super) struct Db {
    pool: PgPool,
    /// None for a socket of this machine.
    bridge: Option<Bridge>,
    /// Names of the types that `TYPES` lacks.
    names: Mutex<HashMap<u32, String>>,
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
        None => Some(Bridge::open(inner, &server.host, server.port, &format!(".s.PGSQL.{}", server.port))?),
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        // Not that of the process's environment.
        .password(password.map(|password| password.expose_secret()).unwrap_or_default())
        .database(&server.database)
        .application_name("millstream")
        .ssl_mode(if server.tls { PgSslMode::VerifyFull } else { PgSslMode::Disable });
    options = options.disable_statement_logging();
    if let Some(pem) = &inner.client.roots {
        options = options.ssl_root_cert_from_pem(pem.to_vec());
    }
    if let Some(path) = server.socket.as_ref().or(bridge.as_ref().map(|bridge| &bridge.path)) {
        options = options.socket(path);
    }
    let pool = PgPoolOptions::new()
        .max_connections(size(connection(work.call)?))
        .idle_timeout(IDLE)
        .acquire_timeout(Duration::from_secs(60))
        .connect_lazy_with(options);
    let db = Db { pool, bridge, names: Mutex::default() };
    if !setup.trim().is_empty() {
        let mut connection = acquire(&db, work).await?;
        let done = sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&mut *connection).await;
        done.map_err(|error| failure(work, &error))?;
    }
    Ok(db)
}

async fn acquire(db: &Db, work: &Work<'_>) -> Result<PoolConnection<Postgres>, Failure> {
    db.pool.acquire().await.map_err(|error| match (&error, db.bridge.as_ref().and_then(Bridge::failure)) {
        (sqlx::Error::Database(_) | sqlx::Error::Tls(_), _) | (_, None) => failure(work, &error),
        (_, Some(dialled)) => dialled,
    })
}

/// A connection on which the statement's time is bounded.
async fn bounded(db: &Db, work: &Work<'_>) -> Result<PoolConnection<Postgres>, Failure> {
    let mut connection = acquire(db, work).await?;
    let limit = format!("SET statement_timeout = {}", work.statement_ms());
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(limit))).await;
    done.map_err(|error| failure(work, &error))?;
    Ok(connection)
}

/// The statement with its casts, and its arguments.
async fn prepared(
    db: &Db,
    work: &Work<'_>,
    connection: &mut PgConnection,
    sql: &str,
    params: &[Value],
) -> Result<(String, PgArguments), Failure> {
    let failed = |error: sqlx::Error| failure(work, &error);
    let pieces = pieces(sql);
    let statement = pieces.joined(|number| format!("${number}"));
    let statement = connection.prepare(AssertSqlSafe(statement).into_sql_str()).await.map_err(failed)?;
    let types = match statement.parameters() {
        Some(Either::Left(types)) => types.to_vec(),
        _ => Vec::new(),
    };
    if types.len() != params.len() {
        let why = format!("the statement has {} parameters, and `params` has {}", types.len(), params.len());
        return Err(work.failed(Class::Permanent, "sql.input", &why));
    }
    let statement = cast(db, work, connection, &pieces, &types).await?;
    let mut arguments = PgArguments::default();
    for (value, of) in params.iter().zip(&types) {
        let text = text(value, of)?;
        arguments.add(text).map_err(|error| work.failed(Class::Permanent, "sql.input", &error.to_string()))?;
    }
    Ok((statement, arguments))
}

async fn cast(
    db: &Db,
    work: &Work<'_>,
    connection: &mut PgConnection,
    pieces: &Pieces,
    types: &[PgTypeInfo],
) -> Result<String, Failure> {
    let mut names = Vec::with_capacity(types.len());
    for of in types {
        let oid = of.oid().map_or(25, |oid| oid.0);
        let known = TYPES.iter().find(|(known, _)| *known == oid).map(|(_, name)| (*name).to_owned());
        let known = known.or_else(|| db.names.lock().unwrap_or_else(PoisonError::into_inner).get(&oid).cloned());
        names.push(match known {
            Some(name) => name,
            None => {
                let ask = sqlx::query_scalar::<_, String>("SELECT $1::oid::regtype::text").bind(of.oid());
                let name = ask.fetch_one(&mut *connection).await.map_err(|error| failure(work, &error))?;
                db.names.lock().unwrap_or_else(PoisonError::into_inner).insert(oid, name.clone());
                name
            }
        });
    }
    let name = |number: usize| number.checked_sub(1).and_then(|index| names.get(index)).map_or("text", String::as_str);
    Ok(pieces.joined(|number| format!("CAST(${number}::text AS {})", name(number))))
}

pub(super) async fn execute(db: &Db, work: &Work<'_>, sql: &str, params: &[Value]) -> Result<u64, Failure> {
    let mut connection = bounded(db, work).await?;
    loop {
        let (statement, arguments) = prepared(db, work, &mut connection, sql, params).await?;
        work.sends();
        match sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection).await {
            Err(error) if is_stale(&error) => forget(work, &mut connection).await?,
            done => return Ok(done.map_err(|error| failure(work, &error))?.rows_affected()),
        }
    }
}

pub(super) async fn query(
    db: &Db,
    work: &Work<'_>,
    sql: &str,
    params: &[Value],
    rows: &mut Rows<'_>,
) -> Result<(), Failure> {
    let mut connection = bounded(db, work).await?;
    loop {
        let (statement, arguments) = prepared(db, work, &mut connection, sql, params).await?;
        work.sends();
        {
            let mut stream = sqlx::query_with(AssertSqlSafe(statement), arguments).fetch(&mut *connection);
            loop {
                match stream.try_next().await {
                    Ok(Some(row)) => rows.push(object(work, &row)?)?,
                    Ok(None) => return Ok(()),
                    Err(error) if is_stale(&error) => break,
                    Err(error) => return Err(failure(work, &error)),
                }
            }
        }
        forget(work, &mut connection).await?;
    }
}

/// True if the server refuses a statement that was prepared before a table was changed: it did nothing of it. The message is
/// in the server's language, the name of what refuses is not.
fn is_stale(error: &sqlx::Error) -> bool {
    let refused = error.as_database_error().and_then(|refused| refused.try_downcast_ref::<PgDatabaseError>());
    refused.is_some_and(|refused| refused.code() == "0A000" && refused.routine() == Some("RevalidateCachedQuery"))
}

/// The next statement on this connection is prepared anew.
async fn forget(work: &Work<'_>, connection: &mut PgConnection) -> Result<(), Failure> {
    connection.clear_cached_statements().await.map_err(|error| failure(work, &error))
}

fn object(work: &Work<'_>, row: &PgRow) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(|error| failure(work, &error))?;
        let value = match raw.as_bytes() {
            _ if raw.is_null() => Value::Null,
            Ok(bytes) => pg_value::read(column.type_info(), bytes).map_err(|why| {
                let why =
                    format!("the column `{}` {why}; select it as text, as in {}::text", column.name(), column.name());
                work.failed(Class::Permanent, "sql.value", &why)
            })?,
            Err(error) => return Err(work.failed(Class::Permanent, "sql.value", &error.to_string())),
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}

/// A value in the text form of its type.
fn text(value: &Value, of: &PgTypeInfo) -> Result<Option<String>, Failure> {
    let oid = of.oid().map_or(25, |oid| oid.0);
    Ok(match (value, of.kind()) {
        (Value::Null, _) => None,
        (Value::Array(items), PgTypeKind::Array(item)) => Some(array(items, item)?),
        // json, jsonb: a text is a JSON text too.
        (_, _) if oid == 114 || oid == 3802 => Some(value.to_string()),
        (Value::String(text), _) if oid == 17 => {
            let bytes = STANDARD.decode(text).map_err(|_| {
                let what = "a value for a column of bytes (bytea) is base64, and this is not";
                Failure::new(Class::Permanent, "sql.input", what)
            })?;
            Some(hex(&bytes))
        }
        (Value::Object(_), _) if oid == 17 => match bytes_of(value) {
            Some(bytes) => Some(hex(&bytes?)),
            None => Some(value.to_string()),
        },
        (Value::String(text), _) => Some(text.clone()),
        (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_), _) => Some(value.to_string()),
    })
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\x{digits}")
}

/// An array in the form of its input: `{"a","b",NULL}`.
fn array(items: &[Value], item: &PgTypeInfo) -> Result<String, Failure> {
    let mut parts = Vec::with_capacity(items.len());
    for value in items {
        parts.push(match value {
            Value::Array(inner) => array(inner, item)?,
            _ => match text(value, item)? {
                None => "NULL".to_owned(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            },
        });
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

/// What an error means, by the codes of PostgreSQL's manual (Appendix A). A statement that fails is undone by the server.
fn failure(work: &Work<'_>, error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(refused) = error else { return work.broken(error) };
    let Some(refused) = refused.try_downcast_ref::<PgDatabaseError>() else { return work.broken(error) };
    let detail = refused.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let said = format!("{}{detail} [{}]", refused.message(), refused.code());
    let make = |class: Class, code: &str| work.failed(class, code, &said);
    let code = refused.code();
    match (&code[..code.len().min(2)], code) {
        (_, "28P01" | "28000" | "42501") => make(Class::Held, "sql.auth"),
        (_, "3D000") => make(Class::Held, "sql.url"),
        (_, "42P10") => work.failed(
            Class::Permanent,
            "sql.key_column",
            "the key columns must be PRIMARY KEY or UNIQUE together in the table",
        ),
        (_, "40001" | "40P01" | "55P03") => make(Class::Retry, "sql.conflict"),
        (_, "57014") => make(Class::Retry, "sql.timeout"),
        // The commit itself may have been on its way.
        (_, "40003" | "08007") => make(Class::Unknown, "outbound.connection_lost"),
        ("23", _) => make(Class::Permanent, "sql.constraint"),
        ("53" | "57" | "58" | "08", _) | (_, "25006") => make(Class::Retry, "sql.unavailable"),
        _ => make(Class::Permanent, "sql.statement"),
    }
}
