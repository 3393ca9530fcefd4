//! What people do with connections: see how they stand, try them out, log in. And the vault's key, which their secrets are
//! under.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::connector::{Connection, Connector};
use crate::flow::{Block, Kind};

impl Engine {
    /// Every connection by name: what it is of, who uses it, which credentials it lacks, when its token ends.
    pub async fn connections(&self) -> Vec<Value> {
        let catalog = self.catalog.current();
        let mut used: HashMap<String, Vec<Value>> = HashMap::new();
        let mut flows: Vec<_> = catalog.flows.values().collect();
        flows.sort_by(|a, b| a.flow.id.cmp(&b.flow.id));
        for live in flows {
            let mut found = Vec::new();
            users(&live.flow.steps, &mut found);
            if let Some(handler) = &live.flow.on_failure {
                users(handler, &mut found);
            }
            for (connection, step) in found {
                used.entry(connection).or_default().push(json!({"flow": live.flow.id, "step": step}));
            }
        }
        let mut told = Vec::new();
        for (name, connection) in &catalog.connections {
            let mut one = json!({"name": name, "connector": connection.connector});
            one["used_by"] = json!(used.remove(name).unwrap_or_default());
            if let Some(connector) = catalog.connectors.get(&connection.connector) {
                let standing = self.outbound.standing(connector, connection).await;
                if let (Some(one), Value::Object(standing)) = (one.as_object_mut(), standing) {
                    one.extend(standing);
                }
            }
            told.push(one);
        }
        told
    }

    /// Tries a connection out: `{ok, shows}`, or `{ok, code, message, advice}`.
    pub async fn test_connection(&self, name: &str) -> Result<Value, Denied> {
        let (connector, connection) = self.connection(name)?;
        let mut told = self.outbound.tried(&connector, &connection).await;
        told["connection"] = json!(connection.name);
        Ok(told)
    }

    /// The URL that a person opens to log in; the browser comes back to `redirect_uri`.
    pub async fn begin_login(&self, name: &str, redirect_uri: &str) -> Result<String, Denied> {
        let (connector, connection) = self.connection(name)?;
        let begun = self.outbound.begin_login(&connector, &connection, redirect_uri).await;
        begun.map_err(|failure| Denied::Login(failure.message))
    }

    /// Trades the code that the browser brought for tokens. They are durable, and the next call uses them.
    pub async fn finish_login(&self, name: &str, state: &str, code: SecretString) -> Result<(), Denied> {
        let (connector, connection) = self.connection(name)?;
        let done = self.outbound.finish_login(&connector, &connection, state, code).await;
        done.map_err(|failure| Denied::Login(failure.message))
    }

    /// Seals all secrets and tokens anew, under a new key; its version.
    pub fn rotate_vault(&self) -> Result<u32, Denied> {
        self.outbound.rotate_vault().map_err(Denied::Unavailable)
    }

    fn connection(&self, name: &str) -> Result<(Arc<Connector>, Arc<Connection>), Denied> {
        let catalog = self.catalog.current();
        let connection = catalog.connections.get(name);
        let found = connection.and_then(|found| Some((catalog.connectors.get(&found.connector)?, found)));
        let (connector, connection) = found.ok_or_else(|| Denied::NoConnection(name.to_owned()))?;
        Ok((connector.clone(), connection.clone()))
    }
}

/// The connections that steps of a block name, with the steps.
fn users(block: &Block, found: &mut Vec<(String, String)>) {
    for step in &block.steps {
        if let Kind::Action(call) = &step.kind
            && let Some(connection) = &call.connection
        {
            found.push((connection.clone(), step.id.clone()));
        }
        step.blocks().into_iter().for_each(|(_, inner)| users(inner, found));
    }
}
