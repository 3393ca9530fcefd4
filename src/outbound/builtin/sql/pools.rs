//! Open databases, one pool for each connection. A pool whose connection has changed (its settings, its password) is
//! replaced; its calls end on the old one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::super::super::Inner;
use super::place::{Kind, Place};
use super::{Work, connection, mysql, postgres, sqlite};
use crate::connector::{Connection, Failure};

/// Connections of a pool where the connection's limits do not say.
const USUAL: u32 = 10;
/// Most of them.
const MOST: usize = 100;
/// A connection that nobody used for so long is closed.
pub(super) const IDLE: Duration = Duration::from_secs(300);

pub(super) enum Pool {
    Sqlite(sqlx::SqlitePool),
    Postgres(postgres::Db),
    MySql(mysql::Db),
}

struct Entry {
    /// What the pool was opened with, hashed, for a password is part of it.
    made_of: [u8; 32],
    pool: Arc<OnceCell<Arc<Pool>>>,
}

/// By the connection's name.
#[derive(Default)]
pub(crate) struct Pools {
    open: Mutex<HashMap<String, Entry>>,
}

/// Connections that a pool may have: as many as calls are made at once.
pub(super) fn size(connection: &Connection) -> u32 {
    let at_once = connection.limits.concurrent.map(|most| most.clamp(1, MOST));
    at_once.and_then(|most| u32::try_from(most).ok()).unwrap_or(USUAL)
}

impl Pools {
    /// The pool of the call's connection, opened if it is not.
    pub(super) async fn get(&self, inner: &Inner, work: &Work<'_>, place: &Place) -> Result<Arc<Pool>, Failure> {
        let connection = connection(work.call)?;
        let password = match place.kind() {
            Kind::Sqlite => None,
            Kind::Postgres | Kind::MySql => inner.secrets.optional(connection, "password").await?,
        };
        let setup = connection.settings.get("setup").and_then(Value::as_str).unwrap_or_default();
        let made_of = made_of(connection, place, password.as_ref());
        let cell = {
            let mut open = self.open.lock().await;
            let known = open.get(&connection.name).filter(|entry| entry.made_of == made_of);
            match known {
                Some(entry) => entry.pool.clone(),
                None => {
                    let pool = Arc::new(OnceCell::new());
                    open.insert(connection.name.clone(), Entry { made_of, pool: pool.clone() });
                    pool
                }
            }
        };
        let opened = cell.get_or_try_init(|| async {
            Ok::<_, Failure>(Arc::new(match place {
                Place::File(path) => Pool::Sqlite(sqlite::open(work, path, setup).await?),
                Place::Server(server) if server.kind == Kind::MySql => {
                    Pool::MySql(mysql::open(inner, work, server, password.as_ref(), setup).await?)
                }
                Place::Server(server) => {
                    Pool::Postgres(postgres::open(inner, work, server, password.as_ref(), setup).await?)
                }
            }))
        });
        opened.await.cloned()
    }
}

fn made_of(connection: &Connection, place: &Place, password: Option<&SecretString>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [connection.settings.to_string(), place.shown(), size(connection).to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(password.map(|password| password.expose_secret().as_bytes()).unwrap_or_default());
    hash.finalize().into()
}
