//! What editors and people ask of connections: choices, and which of them are left alone.

use serde_json::Value;

use super::*;
use crate::outbound::BreakerState;

impl Engine {
    /// The choices of `input` of an action of this connection's connector: `{options, more}`.
    ///
    /// # Errors
    /// If there is no such connection or the input has no choices; if the target does not tell them.
    pub async fn options(&self, connection: &str, action: &str, input: &str) -> Result<Value, Denied> {
        let catalog = self.catalog.current();
        let Some(found) = catalog.connections.get(connection) else {
            let name: String = connection.chars().take(100).collect();
            return Err(Denied::Invalid(format!("connections.yaml has no working connection `{name}`")));
        };
        let Some(connector) = catalog.connectors.get(&found.connector) else {
            return Err(Denied::Invalid(format!("there is no connector `{}`", found.connector)));
        };
        // `slack.post_message` is as good as `post_message`.
        let action = action.strip_prefix(&format!("{}.", connector.name)).unwrap_or(action);
        if connector.actions.get(action).is_none_or(|action| !action.choices.contains_key(input)) {
            let short = |text: &str| text.chars().take(100).collect::<String>();
            let (action, input) = (short(action), short(input));
            let what = format!("the input `{input}` of `{}.{action}` has no list of choices", connector.name);
            return Err(Denied::Invalid(what));
        }
        let options = self.outbound.options(connector, found, action, input).await;
        options.map_err(|failure| Denied::Unavailable(format!("{} ({})", failure.message, failure.code)))
    }

    /// Connections that are not called for now, since their targets are down.
    pub fn breakers(&self) -> Vec<BreakerState> {
        let catalog = self.catalog.current();
        let mut breakers = self.outbound.breakers();
        breakers.retain(|breaker| catalog.connections.contains_key(&breaker.connection));
        breakers
    }
}
