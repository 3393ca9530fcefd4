//! `sql.insert` and `sql.query` on real SQLite files.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::Path;
use std::sync::Arc;

use millstream::connector::{Connection, Connectors, Failure};
use millstream::mapping::parse_json;
use millstream::outbound::Outbound;
use serde_json::{Value, json};

use crate::remote::{KEY, connection, outbound, perform, verdict};

const SETUP: &str = "CREATE TABLE IF NOT EXISTS leads (id TEXT PRIMARY KEY, company TEXT, size, extra);
                     CREATE TABLE IF NOT EXISTS log (text TEXT);";

struct Db {
    outbound: Outbound,
    connectors: Connectors,
    connection: Arc<Connection>,
}

fn open(dir: &Path) -> Db {
    let settings = json!({"url": "sqlite:leads.db", "setup": SETUP});
    let connection = Arc::new(connection(dir, "sql", settings, &[]));
    Db { outbound: outbound(), connectors: Connectors::shipped(), connection }
}

impl Db {
    async fn run(&self, action: &str, input: Value) -> Result<Value, Failure> {
        perform(&self.outbound, &self.connectors, action, Some(&self.connection), input).await
    }
    async fn rows(&self, sql: &str) -> Value {
        self.run("sql.query", json!({"sql": sql})).await.unwrap()["rows"].take()
    }
}

#[tokio::test]
async fn a_repeat_stays_one_row_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let insert = json!({"table": "leads", "row": {"company": "O'Brien & Sons"}, "key_column": "id"});
    let first = open(dir.path()).run("sql.insert", insert.clone()).await.unwrap();
    assert_eq!(first, json!({"inserted": true, "key": KEY.to_string()}));
    // Another process after a crash: the same call again.
    let db = open(dir.path());
    let second = db.run("sql.insert", insert).await.unwrap();
    assert_eq!(second, json!({"inserted": false, "key": KEY.to_string()}));
    assert_eq!(
        db.rows("SELECT id, company FROM leads").await,
        json!([{"id": KEY.to_string(), "company": "O'Brien & Sons"}])
    );
    assert!(dir.path().join("leads.db").exists(), "a relative path starts at the project's folder");
}

#[tokio::test]
async fn without_a_key_column_every_insert_is_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for _ in 0..2 {
        let done = db.run("sql.insert", json!({"table": "log", "row": {"text": "x"}})).await.unwrap();
        assert_eq!(done, json!({"inserted": true, "key": null}));
    }
    assert_eq!(db.rows("SELECT count(*) AS n FROM log").await, json!([{"n": 2}]));
}

#[tokio::test]
async fn a_key_of_the_rows_own_is_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let row = json!({"table": "leads", "row": {"ID": "ada@example.com"}, "key_column": "id"});
    assert_eq!(db.run("sql.insert", row.clone()).await.unwrap(), json!({"inserted": true, "key": "ada@example.com"}));
    assert_eq!(db.run("sql.insert", row).await.unwrap(), json!({"inserted": false, "key": "ada@example.com"}));
}

#[tokio::test]
async fn values_keep_their_type_and_every_digit() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let numbers = ["7", "9007199254740993", "1.5", "0.1000000000000000055", "123456789012345678901234567890", "1e400"];
    for (index, number) in numbers.iter().enumerate() {
        let size = parse_json(number.as_bytes()).unwrap();
        let mut input = json!({"table": "leads", "row": {"id": index.to_string(), "extra": {"a": [true, null]}}});
        // Moved in: `json!` would copy it through serde, which respells exponents.
        input["row"]["size"] = size;
        db.run("sql.insert", input).await.unwrap();
    }
    let rows = db.rows("SELECT typeof(size) AS t, size, extra FROM leads ORDER BY id").await;
    let kinds: Vec<String> =
        rows.as_array().unwrap().iter().map(|row| format!("{} {}", row["t"], row["size"])).collect();
    assert_eq!(
        kinds,
        [
            r#""integer" 7"#,
            r#""integer" 9007199254740993"#,
            r#""real" 1.5"#,
            r#""text" "0.1000000000000000055""#,
            r#""text" "123456789012345678901234567890""#,
            r#""text" "1e400""#,
        ]
    );
    assert_eq!(rows[0]["extra"], r#"{"a":[true,null]}"#);
}

#[tokio::test]
async fn data_is_never_part_of_a_statement() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let evil = "x'); DROP TABLE leads; --";
    db.run("sql.insert", json!({"table": "leads", "row": {"id": "1", "company": evil}})).await.unwrap();
    let found =
        db.run("sql.query", json!({"sql": "SELECT company FROM leads WHERE company = ?", "params": [evil]})).await;
    assert_eq!(found.unwrap(), json!({"rows": [{"company": evil}]}));
    let column = json!({"table": "leads", "row": {"id\") VALUES (1); DROP TABLE leads; --": "1"}});
    assert_eq!(verdict(&db.run("sql.insert", column).await), "Permanent sql.statement");
    assert_eq!(db.rows("SELECT count(*) AS n FROM leads").await, json!([{"n": 1}]));
}

#[tokio::test]
async fn refusals_of_the_database_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    db.run("sql.insert", json!({"table": "leads", "row": {"id": "1"}})).await.unwrap();
    let again = db.run("sql.insert", json!({"table": "leads", "row": {"id": "1"}})).await;
    assert_eq!(verdict(&again), "Permanent sql.constraint");
    let table = db.run("sql.insert", json!({"table": "nowhere", "row": {"id": "1"}})).await;
    assert_eq!(verdict(&table), "Permanent sql.statement");
    let key = db.run("sql.insert", json!({"table": "leads", "row": {"id": "2"}, "key_column": "company"})).await;
    assert_eq!(verdict(&key), "Permanent sql.key_column");
}

#[tokio::test]
async fn a_query_with_too_many_rows_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let result = open(dir.path()).run("sql.query", json!({"sql": endless})).await;
    assert_eq!(verdict(&result), "Permanent outbound.response_too_large");
}

#[tokio::test]
async fn a_file_that_is_no_database_or_no_file_at_all_waits_for_a_person() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("leads.db"),
        "this is a text, not a database; and it is long enough to tell so".repeat(20),
    )
    .unwrap();
    let result = open(dir.path()).run("sql.query", json!({"sql": "SELECT 1"})).await;
    assert_eq!(verdict(&result), "Held sql.file");

    let mut db = open(dir.path());
    let settings = json!({"url": "sqlite:no/such/folder/leads.db"});
    db.connection = Arc::new(connection(dir.path(), "sql", settings, &[]));
    assert_eq!(verdict(&db.run("sql.query", json!({"sql": "SELECT 1"})).await), "Held sql.file");
}

#[tokio::test]
async fn many_inserts_at_once_all_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(dir.path()));
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..50 {
        let db = db.clone();
        calls.spawn(
            async move { db.run("sql.insert", json!({"table": "log", "row": {"text": index.to_string()}})).await },
        );
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!(db.rows("SELECT count(*) AS n FROM log").await, json!([{"n": 50}]));
}
