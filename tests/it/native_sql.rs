//! `sql` on a real PostgreSQL and a real MariaDB: values both ways, refusals told apart, and one row whatever breaks.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::config;
use millstream::connector::{Connection, Connectors, Failure};
use millstream::mapping::parse_json;
use millstream::outbound::{Call, Outbound, Secrets};
use serde_json::{Value, json};

use crate::app::{App, eventually};
use crate::databases::{Database, PASSWORD, Then, Wire};
use crate::remote::{KEY, connection, perform, verdict};

struct Db {
    outbound: Outbound,
    connection: Arc<Connection>,
    _dir: tempfile::TempDir,
}

impl Db {
    fn with(settings: Value, password: &str) -> Db {
        let dir = tempfile::tempdir().unwrap();
        let credentials: &[(&str, &str)] = if password.is_empty() { &[] } else { &[("password", password)] };
        let connection = Arc::new(connection(dir.path(), "sql", settings, credentials));
        let ca_file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/one.cert.pem"));
        let config = config::Outbound { allow: vec!["127.0.0.0/8".parse().unwrap()], ca_file, ..Default::default() };
        Db { outbound: Outbound::new(&config, Secrets::default()).unwrap(), connection, _dir: dir }
    }

    async fn run(&self, action: &str, input: Value) -> Result<Value, Failure> {
        perform(&self.outbound, &Connectors::shipped(), action, Some(&self.connection), input).await
    }

    async fn query(&self, sql: &str, params: Value) -> Result<Value, Failure> {
        // Moved in: `json!` would copy it through serde, which respells exponents.
        let mut input = json!({"sql": sql});
        input["params"] = params;
        self.run("sql.query", input).await.map(|mut output| output["rows"].take())
    }

    async fn rows(&self, sql: &str) -> Value {
        self.query(sql, json!([])).await.unwrap()
    }

    async fn does(&self, sql: &str) -> Result<Value, Failure> {
        self.run("sql.execute", json!({"sql": sql})).await
    }

    async fn in_time(&self, timeout: Duration, sql: &str) -> Result<Value, Failure> {
        let connectors = Connectors::shipped();
        let (connector, _) = connectors.action("sql.query").unwrap();
        let input = json!({"sql": sql});
        let connection = Some(&self.connection);
        let call = Call {
            flow: "test",
            connector,
            action: "query",
            connection,
            input: &input,
            key: KEY,
            timeout: Some(timeout),
            output_limit: 1_000_000,
        };
        self.outbound.perform(call).await
    }
}

/// What both servers must do alike.
async fn rows_are_one_each_and_refusals_told_apart(db: &Db) {
    let insert = json!({"table": "leads", "row": {"company": "O'Brien & Sons", "email": "a@x"}, "key_column": "id"});
    let first = db.run("sql.insert", insert.clone()).await.unwrap();
    assert_eq!(first, json!({"inserted": true, "key": KEY.to_string()}));
    assert_eq!(db.run("sql.insert", insert).await.unwrap(), json!({"inserted": false, "key": KEY.to_string()}));
    assert_eq!(
        db.rows("SELECT id, company FROM leads").await,
        json!([{"id": KEY.to_string(), "company": "O'Brien & Sons"}])
    );

    // Another row's email is no repeat of this one.
    let other = json!({"table": "leads", "row": {"id": "2", "company": "B", "email": "a@x"}, "key_column": "id"});
    assert_eq!(verdict(&db.run("sql.insert", other).await), "Permanent sql.constraint");
    let unknown = json!({"table": "leads", "row": {"id": "2", "company": "B"}, "key_column": "company"});
    assert_eq!(verdict(&db.run("sql.insert", unknown).await), "Permanent sql.key_column");

    let upsert = |company: &str, email: &str| json!({"table": "leads", "row": {"id": "3", "company": company, "email": email}, "key_columns": ["id"]});
    for company in ["C", "C", "D"] {
        db.run("sql.upsert", upsert(company, "c@x")).await.unwrap();
    }
    assert_eq!(
        db.rows("SELECT company, email FROM leads WHERE id = '3'").await,
        json!([{"company": "D", "email": "c@x"}])
    );
    assert_eq!(
        verdict(&db.run("sql.upsert", upsert("E", "a@x")).await),
        "Permanent sql.constraint",
        "not the other row"
    );
    let keyless = json!({"table": "leads", "row": {"company": "x"}, "key_columns": ["id"]});
    assert_eq!(verdict(&db.run("sql.upsert", keyless).await), "Permanent sql.input");

    let changed = json!({"sql": "UPDATE leads SET company = ? WHERE id = ?", "params": ["E", "3"]});
    assert_eq!(db.run("sql.execute", changed).await.unwrap(), json!({"affected": 1}));

    let evil = "x'); DROP TABLE leads; -- \\ \" ` ?";
    let found = db.query("SELECT CAST(? AS CHAR(40)) AS a, '?' AS b", json!([evil])).await.unwrap();
    assert_eq!(found[0]["a"].as_str().unwrap().trim_end(), evil);
    assert_eq!(found[0]["b"], "?");

    let nowhere = db.does("SELECT * FROM nowhere").await;
    assert_eq!(verdict(&nowhere), "Permanent sql.statement");
    assert!(nowhere.unwrap_err().message.contains("nowhere"), "the database's own words");
    assert_eq!(verdict(&db.does("SELEC 1").await), "Permanent sql.statement");
    let null = json!({"table": "leads", "row": {"id": "9", "company": null}});
    assert_eq!(verdict(&db.run("sql.insert", null).await), "Permanent sql.constraint");
}

/// A deadlock ends for one of two; the other goes on.
async fn of_two_in_a_deadlock_one_is_tried_again(db: &Arc<Db>, sleep: &str) {
    db.does("CREATE TABLE locks (id INT PRIMARY KEY, n INT)").await.unwrap();
    db.does("INSERT INTO locks VALUES (1, 0), (2, 0)").await.unwrap();
    let both = [(1, 2), (2, 1)].map(|(first, second)| {
        let db = db.clone();
        let sql = sleep.replace("FIRST", &first.to_string()).replace("SECOND", &second.to_string());
        tokio::spawn(async move { db.does(&sql).await })
    });
    let mut verdicts = Vec::new();
    for one in both {
        verdicts.push(one.await.unwrap());
    }
    let lost: Vec<String> = verdicts.iter().filter(|result| result.is_err()).map(verdict).collect();
    assert_eq!(lost, ["Retry sql.conflict"], "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_values_and_says_what_is_wrong() {
    let server = Database::postgres();
    let url = |user: &str, host: &str| format!("postgres://{user}@{host}:{}/postgres", server.port);
    let setup = "CREATE TABLE IF NOT EXISTS leads (id text PRIMARY KEY, company text NOT NULL, email text UNIQUE);
        CREATE TABLE IF NOT EXISTS kinds (id int PRIMARY KEY, small int2, big int8, exact numeric, price numeric(10,2), r real,
            d double precision, flag bool, t varchar(20), c char(3), at timestamptz, local timestamp, day date, clock time, span interval,
            u uuid, j json, jb jsonb, bytes bytea, list int[], texts text[], grid numeric[][]);
        DROP TYPE IF EXISTS \"Mood\"; CREATE TYPE \"Mood\" AS ENUM ('glad', 'sad');
        CREATE TABLE IF NOT EXISTS moods (mood \"Mood\", at inet);";
    let settings = json!({"url": url("ada", "localhost"), "setup": setup});
    let db = Arc::new(Db::with(settings, PASSWORD));
    rows_are_one_each_and_refusals_told_apart(&db).await;
    let encrypted = db.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await;
    assert_eq!(encrypted, json!([{"ssl": true}]), "TLS with the certificate's name, unless the connection says off");

    let given = r#"{"id": 1, "small": -3, "big": 9007199254740993, "exact": 123456789012345678901234567890.1234567890, "price": 1.10,
        "r": 0.1, "d": 1e-300, "flag": true, "t": "Grüße", "c": "abc", "at": "2026-01-05T10:00:00.5+01:00", "local": "2026-01-05T10:00:00",
        "day": "2026-02-28", "clock": "23:59:59", "span": "P1Y2DT3.5S", "u": "0190a000-0000-7000-8000-000000000001",
        "j": {"a": [1.10, null]}, "jb": "a text", "bytes": "AAEC/w==", "list": [1, null, -3], "texts": ["a \"b\", {c}", "", null, "NULL", "\\"],
        "grid": [[1.5, 2], [3, 4.25]]}"#;
    let mut input = json!({"table": "public.kinds"});
    input["row"] = parse_json(given.as_bytes()).unwrap();
    db.run("sql.insert", input).await.unwrap();
    let back = db.rows("SELECT * FROM kinds").await[0].take();
    let expected = r#"{"id":1,"small":-3,"big":9007199254740993,"exact":123456789012345678901234567890.1234567890,"price":1.10,"r":0.1,"#;
    assert!(back.to_string().starts_with(expected), "{back}");
    assert_eq!((&back["d"].to_string().parse::<f64>().unwrap(), &back["flag"]), (&1e-300, &json!(true)));
    for (column, value) in [
        ("t", json!("Grüße")),
        ("c", json!("abc")),
        ("at", json!("2026-01-05T09:00:00.5Z")),
        ("local", json!("2026-01-05T10:00:00")),
        ("day", json!("2026-02-28")),
        ("clock", json!("23:59:59")),
        ("span", json!("P12M2DT3.5S")),
        ("u", json!("0190a000-0000-7000-8000-000000000001")),
        ("jb", json!("a text")),
        ("bytes", json!("AAEC/w==")),
        ("list", json!([1, null, -3])),
        ("texts", json!(["a \"b\", {c}", "", null, "NULL", "\\"])),
    ] {
        assert_eq!(back[column], value, "{column}");
    }
    assert_eq!(
        (back["j"].to_string(), back["grid"].to_string()),
        (r#"{"a":[1.10,null]}"#.into(), "[[1.5,2],[3,4.25]]".into())
    );
    let nulls = json!({"table": "kinds", "row": {"id": 2, "at": null, "jb": null, "list": null}});
    db.run("sql.insert", nulls).await.unwrap();
    let back = db.rows("SELECT * FROM kinds WHERE id = 2").await[0].take();
    assert!(back.as_object().unwrap().iter().all(|(column, value)| column == "id" || value.is_null()), "{back}");

    // Types of the user's own, and those that are read only as text.
    db.run("sql.insert", json!({"table": "moods", "row": {"mood": "glad", "at": "192.0.2.7"}})).await.unwrap();
    assert_eq!(db.rows("SELECT mood, at::text FROM moods").await, json!([{"mood": "glad", "at": "192.0.2.7/32"}]));
    assert_eq!(verdict(&db.query("SELECT at FROM moods", json!([])).await), "Permanent sql.value");
    assert_eq!(
        verdict(&db.run("sql.insert", json!({"table": "moods", "row": {"mood": "odd"}})).await),
        "Permanent sql.statement"
    );
    let asked =
        db.query("SELECT jb ?? 'a' AS has, $1::int + 1 AS n FROM kinds WHERE id = $1", json!([1])).await.unwrap();
    assert_eq!(asked, json!([{"has": false, "n": 2}]));
    assert_eq!(
        db.query("SELECT count(*) AS n FROM kinds WHERE id = ANY(?)", json!([[1, 2, 3]])).await.unwrap(),
        json!([{"n": 2}])
    );
    assert_eq!(verdict(&db.query("SELECT ?", json!([])).await), "Permanent sql.input");

    // A table that is changed is read as it is now, and written too, by connections that knew it before.
    let added = json!({"id": 1, "n": 5});
    db.does("CREATE TABLE grows (id int PRIMARY KEY, n int)").await.unwrap();
    db.run("sql.insert", json!({"table": "grows", "row": added})).await.unwrap();
    assert_eq!(db.rows("SELECT * FROM grows").await, json!([added]));
    db.does("ALTER TABLE grows ADD COLUMN more text, ALTER COLUMN n TYPE text").await.unwrap();
    assert_eq!(db.rows("SELECT * FROM grows").await, json!([{"id": 1, "n": "5", "more": null}]));
    let returning = "UPDATE grows SET id = id RETURNING *";
    db.query(returning, json!([])).await.unwrap();
    db.does("ALTER TABLE grows DROP COLUMN more").await.unwrap();
    assert_eq!(db.query(returning, json!([])).await.unwrap(), json!([{"id": 1, "n": "5"}]));

    // What a statement takes too long for is ended and undone by the server.
    let slow = db.in_time(Duration::from_millis(500), "SELECT pg_sleep(20)").await;
    assert_eq!(verdict(&slow), "Retry sql.timeout", "{slow:?}");
    let many = db.query("SELECT generate_series(1, 100000) AS n", json!([])).await;
    assert_eq!(verdict(&many), "Permanent outbound.response_too_large");
    let locks = "DO $$ BEGIN UPDATE locks SET n = n + 1 WHERE id = FIRST; PERFORM pg_sleep(1); UPDATE locks SET n = n + 1 WHERE id = SECOND; END $$";
    of_two_in_a_deadlock_one_is_tried_again(&db, locks).await;

    let refused = async |settings: Value, password: &str| {
        verdict(&Db::with(settings, password).query("SELECT 1", json!([])).await)
    };
    assert_eq!(refused(json!({"url": url("ada", "localhost")}), "another").await, "Held sql.auth");
    assert_eq!(refused(json!({"url": url("eve", "localhost")}), PASSWORD).await, "Held sql.auth");
    assert_eq!(refused(json!({"url": url("ada", "localhost") + "x"}), PASSWORD).await, "Held sql.url");
    assert_eq!(
        refused(json!({"url": "postgres://ada@127.0.0.1:1/postgres"}), PASSWORD).await,
        "Retry outbound.connect"
    );
    assert_eq!(
        refused(json!({"url": "postgres://ada@10.255.255.1/postgres"}), PASSWORD).await,
        "Permanent outbound.blocked_address"
    );
    let socket =
        json!({"url": format!("postgres://ada@localhost:{}/postgres", server.port), "socket": server.folder.path()});
    assert_eq!(Db::with(socket, PASSWORD).rows("SELECT 1 AS one").await, json!([{"one": 1}]));

    // A connection that broke while it was idle is replaced; one that breaks while the server works leaves doubt.
    let wire = Wire::to(server.port);
    let db =
        Db::with(json!({"url": format!("postgres://ada@127.0.0.1:{}/postgres", wire.port), "tls": "off"}), PASSWORD);
    wire.once("cut-here", Then::Cut);
    let cut = db.run("sql.insert", json!({"table": "leads", "row": {"company": "cut-here"}, "key_column": "id"})).await;
    assert_eq!(verdict(&cut), "Unknown outbound.connection_lost", "{cut:?}");
    wire.heals();
    let again =
        db.run("sql.insert", json!({"table": "leads", "row": {"company": "cut-here"}, "key_column": "id"})).await;
    assert_eq!(again.unwrap()["inserted"], false, "the key is that of the first row of this test");
    let other = Db::with(json!({"url": url("ada", "localhost")}), PASSWORD);
    other.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'millstream'").await;
    assert_eq!(db.rows("SELECT 1 AS one").await, json!([{"one": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_keeps_values_and_says_what_is_wrong() {
    let server = Database::mariadb();
    let url = |user: &str, host: &str| format!("mysql://{user}@{host}:{}/crm", server.port);
    let setup = "CREATE TABLE IF NOT EXISTS leads (id varchar(40) PRIMARY KEY, company varchar(100) NOT NULL, email varchar(100) UNIQUE);
        CREATE TABLE IF NOT EXISTS kinds (id int PRIMARY KEY, tiny tinyint, big bigint, ubig bigint unsigned, exact decimal(40,10), f float,
            d double, flag boolean, t varchar(20), c char(3), at timestamp(3) NULL, local datetime, day date, clock time, y year, u uuid, j json, bytes blob,
            bits bit(9), mood enum('glad','sad'), bin varchar(20) COLLATE utf8mb4_bin);";
    let settings = json!({"url": url("encrypted", "localhost"), "setup": setup});
    let db = Arc::new(Db::with(settings, PASSWORD));
    rows_are_one_each_and_refusals_told_apart(&db).await;
    let given = r#"{"id": 1, "tiny": -3, "big": -9007199254740993, "ubig": 18446744073709551615, "exact": 123456789012345678901234567890.1234567890,
        "f": 0.1, "d": 1.5e-300, "flag": true, "t": "Grüße", "c": "abc", "at": "2026-01-05 09:00:00.5", "local": "2026-01-05T10:00:00", "day": "2026-02-28",
        "clock": "-26:59:59", "y": 2026, "u": "0190a000-0000-7000-8000-000000000001", "j": {"a": [1.10, null]}, "bytes": {"base64": "AAEC/w=="},
        "bits": 257, "mood": "sad", "bin": "é"}"#;
    let mut input = json!({"table": "crm.kinds"});
    input["row"] = parse_json(given.as_bytes()).unwrap();
    db.run("sql.insert", input).await.unwrap();
    let back = db.rows("SELECT * FROM kinds").await[0].take();
    let expected = r#"{"id":1,"tiny":-3,"big":-9007199254740993,"ubig":18446744073709551615,"exact":123456789012345678901234567890.1234567890,"f":0.1,"#;
    assert!(back.to_string().starts_with(expected), "{back}");
    for (column, value) in [
        ("flag", json!(1)),
        ("t", json!("Grüße")),
        ("c", json!("abc")),
        ("at", json!("2026-01-05T09:00:00.5Z")),
        ("local", json!("2026-01-05T10:00:00")),
        ("day", json!("2026-02-28")),
        ("clock", json!("-26:59:59")),
        ("y", json!(2026)),
        ("u", json!("0190a000-0000-7000-8000-000000000001")),
        ("j", json!(r#"{"a":[1.10,null]}"#)),
        ("bytes", json!("AAEC/w==")),
        ("bits", json!(257)),
        ("mood", json!("sad")),
        ("bin", json!("é")),
    ] {
        assert_eq!(back[column], value, "{column}");
    }
    db.run("sql.insert", json!({"table": "kinds", "row": {"id": 2, "at": null}})).await.unwrap();
    let back = db.rows("SELECT * FROM kinds WHERE id = 2").await[0].take();
    assert!(back.as_object().unwrap().iter().all(|(column, value)| column == "id" || value.is_null()), "{back}");

    let slow = db.in_time(Duration::from_millis(700), "SELECT sleep(20)").await;
    assert!(
        ["Retry sql.timeout", "done {\"rows\":[{\"sleep(20)\":1}]}"].contains(&verdict(&slow).as_str()),
        "{slow:?}"
    );
    let many = db.query("SELECT seq FROM seq_1_to_100000", json!([])).await;
    assert_eq!(verdict(&many), "Permanent outbound.response_too_large");
    let locks = "BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END; START TRANSACTION; \
                 UPDATE locks SET n = n + 1 WHERE id = FIRST; DO sleep(1); UPDATE locks SET n = n + 1 WHERE id = SECOND; COMMIT; END";
    of_two_in_a_deadlock_one_is_tried_again(&db, locks).await;

    let refused = async |settings: Value, password: &str| {
        verdict(&Db::with(settings, password).query("SELECT 1", json!([])).await)
    };
    assert_eq!(refused(json!({"url": url("ada", "localhost")}), "another").await, "Held sql.auth");
    assert_eq!(
        refused(json!({"url": url("encrypted", "localhost"), "tls": "off"}), PASSWORD).await,
        "Held sql.auth",
        "it asks for TLS"
    );
    assert_eq!(
        refused(json!({"url": url("ada", "localhost") + "x"}), PASSWORD).await,
        "Held sql.auth",
        "no rights there"
    );
    assert_eq!(refused(json!({"url": "mysql://ada@127.0.0.1:1/crm"}), PASSWORD).await, "Retry outbound.connect");
    assert_eq!(
        refused(json!({"url": "mysql://ada@10.255.255.1/crm"}), PASSWORD).await,
        "Permanent outbound.blocked_address"
    );
    let socket = json!({"url": url("ada", "localhost"), "socket": server.folder.path().join("socket")});
    assert_eq!(Db::with(socket, PASSWORD).rows("SELECT 1 AS one").await, json!([{"one": 1}]));

    let wire = Wire::to(server.port);
    let db = Db::with(json!({"url": format!("mysql://ada@127.0.0.1:{}/crm", wire.port), "tls": "off"}), PASSWORD);
    wire.once("cut-here", Then::Cut);
    let cut = db.run("sql.insert", json!({"table": "leads", "row": {"company": "cut-here"}, "key_column": "id"})).await;
    assert_eq!(verdict(&cut), "Unknown outbound.connection_lost", "{cut:?}");
    wire.heals();
    let again =
        db.run("sql.insert", json!({"table": "leads", "row": {"company": "cut-here"}, "key_column": "id"})).await;
    assert_eq!(again.unwrap()["inserted"], false, "the key is that of the first row of this test");
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_call() {
    let server = Database::postgres();
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"url": format!("postgres://ada@localhost:{}/postgres", server.port)});
    let connection = Arc::new(connection(dir.path(), "sql", settings, &[("password", PASSWORD)]));
    let input = json!({"sql": "SELECT 1"});
    let result =
        perform(&crate::remote::outbound(), &Connectors::shipped(), "sql.query", Some(&connection), input).await;
    assert_eq!(verdict(&result), "Permanent outbound.tls", "{result:?}");
}

/// The server has written the row, its answer is lost, Millstream is killed: the repeat finds the row.
fn killed_after_the_row_was_written(scheme: &str, database: &str, server: &Database, create: &str) {
    let wire = Wire::to(server.port);
    let connections = format!(
        "db:\n  connector: sql\n  settings: {{url: \"{scheme}://ada@127.0.0.1:{}/{database}\", tls: \"off\", setup: \"{create}\"}}\n  \
         credentials: {{password: {{env: DB_PASSWORD}}}}\n\
         direct:\n  connector: sql\n  settings: {{url: \"{scheme}://ada@127.0.0.1:{}/{database}\", tls: \"off\", setup: \"{create}\"}}\n  \
         credentials: {{password: {{env: DB_PASSWORD}}}}\n",
        wire.port, server.port
    );
    let flow = "id: lead\ntrigger: {type: request}\nsteps:\n  - id: write\n    action: sql.insert\n    connection: db\n    \
                with: {table: kept, row: {company: \"{{trigger.body.company}}\"}, key_column: id}\n";
    let count = "id: count\ntrigger: {type: request}\nsteps:\n  - id: ask\n    action: sql.query\n    connection: direct\n    \
                 with: {sql: SELECT id FROM kept}\n  - id: answer\n    response: {body: \"{{steps.ask.output.rows}}\"}\n";
    let mut app =
        App::idle(&[("connections.yaml", &connections), ("flows/lead.yaml", flow), ("flows/count.yaml", count)]);
    app.env.push(("DB_PASSWORD", PASSWORD.to_owned()));
    app.start();
    let rows = |app: &App| app.post("count", &json!({})).json().as_array().unwrap().len();
    assert_eq!(rows(&app), 0);
    wire.once("ACME-77", Then::Silence);
    let run = app.post("lead", &json!({"company": "ACME-77"})).run();
    eventually(|| rows(&app) == 1);
    app.kill();
    wire.heals();
    app.start();
    assert_eq!(app.ended(&run)["status"], "succeeded");
    assert_eq!(rows(&app), 1);
    let output = &app.run(&run)["steps"][0]["output"];
    assert_eq!(output["inserted"], false, "the repeat found it: {output}");
    assert!(!app.log().contains(PASSWORD));
}

#[test]
fn on_postgres_a_row_is_one_row_over_kill_9() {
    let server = Database::postgres();
    killed_after_the_row_was_written(
        "postgres",
        "postgres",
        &server,
        "CREATE TABLE IF NOT EXISTS kept (id text PRIMARY KEY, company text)",
    );
}

#[test]
fn on_mariadb_a_row_is_one_row_over_kill_9() {
    let server = Database::mariadb();
    killed_after_the_row_was_written(
        "mysql",
        "crm",
        &server,
        "CREATE TABLE IF NOT EXISTS kept (id varchar(40) PRIMARY KEY, company varchar(100))",
    );
}
