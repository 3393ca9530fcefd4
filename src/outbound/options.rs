//! The choices that an input has: what the list action behind its `x-options` finds, kept for as long as that says.
//!
//! For editors and people. Nothing of a run comes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Call, Outbound};
use crate::connector::{Class, Connection, Connector, Failure};

/// Lists kept at once; beyond it those that have ended go, and then all.
const KEPT: usize = 256;
/// Longest list, bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// Lists that were asked for, by connection and action.
#[derive(Default)]
pub(super) struct Kept {
    lists: Mutex<HashMap<(String, String), List>>,
}

struct List {
    /// A file that was read anew is another connector, or another connection.
    of: (Arc<Connector>, Arc<Connection>),
    until: Instant,
    output: Arc<Value>,
}

impl Kept {
    fn find(&self, connector: &Arc<Connector>, connection: &Arc<Connection>, action: &str) -> Option<Arc<Value>> {
        let lists = self.lock();
        let list = lists.get(&(connection.name.clone(), action.to_owned()))?;
        let same = Arc::ptr_eq(&list.of.0, connector) && Arc::ptr_eq(&list.of.1, connection);
        (same && Instant::now() < list.until).then(|| list.output.clone())
    }

    fn keep(&self, action: &str, list: List) {
        let mut lists = self.lock();
        if lists.len() >= KEPT {
            let now = Instant::now();
            lists.retain(|_, list| now < list.until);
        }
        if lists.len() >= KEPT {
            lists.clear();
        }
        lists.insert((list.of.1.name.clone(), action.to_owned()), list);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), List>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbound {
    /// `{options: [{value, label}], more}`: the choices of `input` (`channel`, `record.owner`) of an action.
    ///
    /// # Errors
    /// `connector.no_options` if the input has none; else as the call of the list action.
    pub async fn options(
        &self,
        connector: &Arc<Connector>,
        connection: &Arc<Connection>,
        action: &str,
        input: &str,
    ) -> Result<Value, Failure> {
        let choices = connector.actions.get(action).and_then(|action| action.choices.get(input));
        let Some(choices) = choices else {
            let what = format!("the input `{input}` of `{}.{action}` has no list of choices", connector.name);
            return Err(Failure::new(Class::Permanent, "connector.no_options", what));
        };
        let output = match self.inner.options.find(connector, connection, &choices.action) {
            Some(output) => output,
            None => {
                let call = Call {
                    flow: "",
                    connector,
                    action: &choices.action,
                    connection: Some(connection),
                    input: &json!({}),
                    key: Uuid::nil(),
                    timeout: None,
                    output_limit: LIMIT,
                };
                let output = Arc::new(self.perform(call).await?);
                if let Some(time) = connector.actions.get(&choices.action).and_then(|list| list.cache) {
                    let of = (connector.clone(), connection.clone());
                    let list = List { of, until: Instant::now() + time, output: output.clone() };
                    self.inner.options.keep(&choices.action, list);
                }
                output
            }
        };
        let more = output.get("more").and_then(Value::as_bool).unwrap_or(false);
        Ok(json!({"options": choices.of(&output), "more": more}))
    }
}
