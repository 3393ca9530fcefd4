//! Limits that are counted by a key, as a board's or a chat's: whichever action it is, and without holding up other keys.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::connector::{Connection, Connectors};
use millstream::outbound::Outbound;
use serde_json::json;

use crate::remote::{Remote, connection, json_response, outbound, perform, verdict};

/// Two actions, each of which writes to a board, with these limits.
fn boards(base: &str, whole: &str, own: &str) -> Connectors {
    let action = |name: &str, own: &str| {
        format!(
            "  {name}:\n    input: {{type: object}}\n    request: {{post: /{name}, json: \"{{{{ input }}}}\"}}\n    limits: {own}\n"
        )
    };
    let text = format!(
        "connector: api\nversion: 1\nconnection: required\nbase_url: {base}\nlimits: {whole}\nactions:\n{}{}{}",
        action("create", own),
        action("update", own),
        action("free", "{concurrent: 10}"),
    );
    let (connectors, problems) = Connectors::from_sources([("connectors/api.yaml", text.as_str())]);
    assert!(problems.is_empty(), "{problems:?}");
    connectors
}

struct Stage {
    remote: Remote,
    connectors: Connectors,
    connection: Arc<Connection>,
    outbound: Outbound,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new(whole: &str, own: &str) -> Stage {
        let remote = Remote::start(|_| json_response(200, &json!({}))).await;
        let dir = tempfile::tempdir().unwrap();
        let connection = Arc::new(connection(dir.path(), "api", json!({}), &[]));
        let connectors = boards(&remote.url(""), whole, own);
        Stage { remote, connectors, connection, outbound: outbound(), _dir: dir }
    }

    async fn call(&self, outbound: &Outbound, action: &str, board: &str) -> String {
        let input = json!({"board": board});
        verdict(&perform(outbound, &self.connectors, &format!("api.{action}"), Some(&self.connection), input).await)
    }
}

#[tokio::test]
async fn actions_that_count_by_the_same_key_have_one_limit_between_them() {
    // Given two calls a day for each board.
    let own = "{key: \"{{ input.board }}\", rate: {requests: 2, per: 24h}}";
    let stage = Stage::new("{concurrent: 10}", own).await;
    for action in ["create", "update"] {
        assert_eq!(stage.call(&stage.outbound, action, "a").await, "done {}");
    }
    // Then the third is one too many, whichever action it is, and another board has its own.
    for action in ["create", "update"] {
        assert_eq!(stage.call(&stage.outbound, action, "a").await, "Throttled outbound.rate_limit", "{action}");
        assert_eq!(stage.call(&stage.outbound, action, "b").await, "done {}");
    }
    assert_eq!(stage.remote.arrived().len(), 4);
    // And so it is after a start, of which what was used is known.
    let after = outbound();
    after.restore(stage.outbound.used_now());
    assert_eq!(stage.call(&after, "update", "a").await, "Throttled outbound.rate_limit");
    assert_eq!(stage.call(&after, "update", "c").await, "done {}");
}

#[tokio::test]
async fn calls_that_wait_for_one_board_hold_up_no_other() {
    // Given one place for calls, and a board that takes one in two seconds.
    let own = "{key: \"{{ input.board }}\", rate: {requests: 1, per: 2s}}";
    let stage = Stage::new("{concurrent: 1}", own).await;
    let began = Instant::now();
    let busy = async {
        for _ in 0..2 {
            assert_eq!(stage.call(&stage.outbound, "create", "a").await, "done {}");
        }
        began.elapsed()
    };
    let others = async {
        while stage.remote.arrived().is_empty() {
            tokio::task::yield_now().await;
        }
        for board in ["b", "c", "d"] {
            assert_eq!(stage.call(&stage.outbound, "update", board).await, "done {}");
        }
        assert_eq!(stage.call(&stage.outbound, "free", "a").await, "done {}");
        began.elapsed()
    };
    let (busy, others) = tokio::join!(busy, others);
    assert!(busy >= Duration::from_millis(1900), "{busy:?}");
    assert!(others < busy, "they waited for a board that was not theirs: {others:?}");
}
