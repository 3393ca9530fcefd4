//! Puts the parts of one process together: data folder, journal, vault, outbound, catalog, engine.

use std::sync::Arc;
use std::thread;

use anyhow::anyhow;
use secrecy::SecretString;

use super::{Place, vault};
use crate::access::Access;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::data::Data;
use crate::engine::{Engine, InstanceKey};
use crate::journal::Journal;
use crate::outbound::{Client, Outbound, Secrets};

/// Everything a process at work holds. The store's lock is held as long as the engine lives.
pub(super) struct Parts {
    pub config: Config,
    pub data: Data,
    pub token: SecretString,
    pub access: Arc<Access>,
    pub catalog: Arc<Catalog>,
    pub engine: Arc<Engine>,
    pub outbound: Outbound,
}

/// Opens the data folder under its lock. Nothing runs yet.
pub(super) fn assemble(place: &Place, config: Config) -> anyhow::Result<Parts> {
    let dir = place.dir()?;
    let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
    data.check_writable().map_err(|why| anyhow!(why))?;
    // Before there is a store, which must not be without it.
    let key = InstanceKey::open(data.path()).map_err(|why| anyhow!(why))?;
    // The system's root certificates take as long to read as the store to open: side by side.
    let (journal, client) = thread::scope(|scope| {
        let client = scope.spawn(|| Client::new(&config.outbound));
        (Journal::open(data.path()), client.join())
    });
    let journal = journal?;
    let client = client.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let token = data.admin_token().map_err(|why| anyhow!(why))?;
    let access = Arc::new(Access::open(&journal, data.path(), &token)?);
    let vault = vault::open(&dir, &data, &config, &key, None)?;
    let outbound = Outbound::with(client, Secrets::new(Some(Arc::new(vault))));
    let catalog = Arc::new(Catalog::load(&dir, Some(data.path()), &config));
    let engine = Engine::new(journal, outbound.clone(), catalog.clone(), key, config.limits.clone())?;
    Ok(Parts { config, data, token, access, catalog, engine, outbound })
}
