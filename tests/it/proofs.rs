//! Every shipped connector does its work: the flow of `examples/connectors/` against the counterpart of
//! `tests/standins/vendors/`, as `tests/connectors/NAME.yaml` says. A call that succeeds, one that is tried again, one
//! that is refused for good, and one whose answer never came while the process was killed.
//!
//! `MILLSTREAM_PROVE=slack,stripe` plays these alone; `MILLSTREAM_PROVE_OWN=1` takes the connector's file from `connectors/`
//! rather than from the binary.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use millstream::connector::{Connection, Connectors};
use millstream::outbound::Call;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::app::{App, eventually, http, told};
use crate::remote;

/// Counterparts are mostly waited for: more at once than there are cores.
const AT_ONCE: usize = 4;

fn root() -> PathBuf {
    // What runs the tests says where the repository is, also of a binary that was built elsewhere.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str, text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names that have a proof.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(root().join("tests/connectors")).unwrap();
    let mut names: Vec<String> =
        files.filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

/// What the real vendor would be: a child process, ended with the test.
struct Counterpart {
    child: Child,
    at: SocketAddr,
    /// What it said of itself: its port, and more.
    said: Map<String, Value>,
}

impl Counterpart {
    fn start(name: &str) -> Counterpart {
        let parts =
            std::env::var_os("MILLSTREAM_STANDINS").map_or_else(|| root().join("target/standins"), PathBuf::from);
        let script = root().join(format!("tests/standins/vendors/{name}.py"));
        let mut command = Command::new(parts.join("venv/bin/python"));
        command.arg(script).env("MILLSTREAM_STANDINS", &parts).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // What it starts takes a port that was free, and another process may have taken it meanwhile.
        let mut started = (0..3).filter_map(|_| {
            let mut child = command.spawn().expect("Python of tests/standins/setup");
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let said = serde_json::from_str::<Map<String, Value>>(&line);
            if said.is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
            Some((child, said.ok()?))
        });
        let (child, said) =
            started.next().expect("its counterpart starts; tests/standins/setup installs what it needs");
        let at = SocketAddr::from(([127, 0, 0, 1], said["port"].as_u64().unwrap() as u16));
        Counterpart { child, at, said }
    }

    fn door(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = http(self.at, method, &format!("/standin/{path}"), &[], body.as_bytes()).unwrap();
        assert!(answer.status < 300, "/standin/{path} answered {answer:?}");
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    fn effects(&self) -> Vec<Value> {
        self.door("GET", "effects", &Value::Null).as_array().unwrap().clone()
    }

    /// What is there now and was not there before.
    fn new_since(&self, before: &[Value]) -> Vec<Value> {
        let mut before = before.to_vec();
        let mut new = self.effects();
        new.retain(|effect| match before.iter().position(|known| known == effect) {
            Some(at) => {
                before.swap_remove(at);
                false
            }
            None => true,
        });
        new
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        // Its stdin ends: it stops its own children, then itself.
        drop(self.child.stdin.take());
        for _ in 0..500 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything of `part` is in `whole`; objects may have more keys.
fn within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| within(value, found)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| within(part, whole))
        }
        _ => part == whole,
    }
}

/// Puts `over` into `value`, key by key.
fn merge(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(value), Value::Object(over)) => {
            for (key, over) in over {
                merge(value.entry(key.clone()).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}

/// Puts what the counterpart said of itself where `{its name}` stands in a text.
fn fill(value: &mut Value, said: &Map<String, Value>) {
    match value {
        Value::String(text) => {
            for (key, value) in said {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                *text = text.replace(&format!("{{{key}}}"), &value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, said)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, said)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Stage {
    name: String,
    counterpart: Counterpart,
    app: App,
    proof: Value,
    connection: Value,
}

impl Stage {
    fn set(name: &str) -> Stage {
        let file = format!("tests/connectors/{name}.yaml");
        let counterpart = Counterpart::start(name);
        let mut proof = yaml(&file, &read(&file));
        fill(&mut proof, &counterpart.said);
        let all = yaml("connections.yaml", &read("examples/connectors/connections.yaml"));
        let mut connection = all.get(name).cloned().unwrap_or(Value::Null);
        if let Some(over) = proof.get("connection") {
            merge(&mut connection, over);
        }
        let connections = if connection.is_null() { json!({}) } else { json!({name: connection}) };
        let flow = format!("flows/{name}.yaml");
        let mut app = App::idle(&[
            ("connections.yaml", &connections.to_string()),
            (&flow, &read(&format!("examples/connectors/{flow}"))),
        ]);
        if std::env::var_os("MILLSTREAM_PROVE_OWN").is_some() {
            let own = format!("connectors/{name}.yaml");
            app.write(&own, &read(&own));
        }
        for (key, value) in proof["env"].as_object().into_iter().flatten() {
            app.env.push((String::leak(key.clone()), value.as_str().expect("a text").to_owned()));
        }
        app.start();
        Stage { name: name.to_owned(), counterpart, app, proof, connection }
    }

    /// A case's part of the proof; `{n}` in it is told apart by the case.
    fn case(&self, case: &str) -> Value {
        let text = self.proof[case].to_string().replace("{n}", case);
        serde_json::from_str(&text).unwrap()
    }

    fn post(&self, case: &str, part: &Value) -> String {
        let request = part.get("request").unwrap_or(&self.proof["request"]).to_string().replace("{n}", case);
        let answer = self.app.post_to(&self.app.hook(&self.name), &request);
        assert!(answer.status < 300, "the flow refused the request of `{case}`: {answer:?}");
        answer.run()
    }

    /// Plays one case to its end and looks at what became of it.
    fn play(&self, case: &str) {
        let part = self.case(case);
        assert!(part.is_object(), "the proof has no `{case}`");
        let before = self.counterpart.effects();
        if let Some(next) = part.get("next") {
            self.counterpart.door("POST", "next", next);
        }
        let run = self.post(case, &part);
        let status = part["status"].as_str().unwrap_or(if case == "permanent" { "failed" } else { "succeeded" });
        let run = self.app.run_when(&run, &["succeeded", "failed", "held", "timed_out"]);
        let step = &run["steps"][0];
        let attempts: Vec<&Value> = step["attempts"].as_array().into_iter().flatten().collect();
        let shown = || format!("`{case}`:\n{}\n{step:#}\nseen: {:#}", told(&run), self.last_seen());
        assert_eq!(run["status"], status, "{}", shown());
        let most = if case == "retryable" { 2 } else { 1 };
        assert_eq!(attempts.len(), part["attempts"].as_u64().unwrap_or(most) as usize, "attempts of {}", shown());
        if let Some(code) = part.get("code") {
            let error = &attempts[0]["error"];
            assert_eq!(&error["code"], code, "{}", shown());
            let says = part["says"].as_str().unwrap_or_default();
            assert!(error["message"].as_str().unwrap_or_default().contains(says), "`{says}` is not in {}", shown());
        } else {
            assert_eq!(case, "succeeds", "`{case}` names no code");
        }
        let new = self.counterpart.new_since(&before);
        let expected = part["effects"].as_u64().unwrap_or(u64::from(case != "permanent")) as usize;
        assert_eq!(new.len(), expected, "effects {new:#?} of {}", shown());
        if let Some(effect) = part.get("effect") {
            assert!(within(effect, &new[0]), "the effect is {:#} in {}", new[0], shown());
        }
        if let Some(output) = part.get("output") {
            assert!(within(output, &step["output"]), "the output is {:#} in {}", step["output"], shown());
        }
    }

    /// The counterpart does it and never answers; the process is killed; the next one takes the run up.
    fn play_repeat(&mut self) {
        let part = self.case("repeat");
        assert!(part.is_object(), "the proof has no `repeat`");
        let before = self.counterpart.effects();
        self.counterpart.door("POST", "next", &json!({"hang": true}));
        let run = self.post("repeat", &part);
        eventually(|| !self.counterpart.new_since(&before).is_empty());
        self.app.kill();
        self.app.start();
        let run = self.app.run_when(&run, &["succeeded", "failed", "held", "timed_out"]);
        let held = part["held"] == true;
        let shown = || format!("`repeat`:\n{}\n{:#}\nseen: {:#}", told(&run), run["steps"][0], self.last_seen());
        assert_eq!(run["status"], if held { "held" } else { "succeeded" }, "{}", shown());
        let new = self.counterpart.new_since(&before);
        let expected = part["effects"].as_u64().unwrap_or(1) as usize;
        assert_eq!(new.len(), expected, "effects {new:#?} of {}", shown());
        if let Some(output) = part.get("output") {
            let found = &run["steps"][0]["output"];
            assert!(within(output, found), "the output is {found:#} in {}", shown());
        }
    }

    /// The connection as a call by hand takes it: its credentials are files in `dir`.
    fn by_hand(&self, dir: &Path) -> Connection {
        let credentials = self.connection["credentials"].as_object().into_iter().flatten();
        let credentials: Vec<(&str, &str)> = credentials
            .map(|(name, source)| {
                let value = &self.proof["env"][source["env"].as_str().expect("a variable")];
                (name.as_str(), value.as_str().expect("a text"))
            })
            .collect();
        let settings = self.connection.get("settings").cloned().unwrap_or_else(|| json!({}));
        let text = |key: &str| self.connection.get(key).and_then(Value::as_str).map(str::to_owned);
        let bare = remote::connection(dir, &self.name, settings, &credentials);
        Connection { base_url: text("base_url"), token_url: text("token_url"), ..bare }
    }

    /// Each call of `twice` is made twice with one key, as by a run that lost the first answer, and succeeds both times.
    /// One that says `once` prepares those after it, in which `{name}` is what it gave.
    async fn play_twice(&self) {
        let connectors = Connectors::shipped();
        let dir = tempfile::tempdir().unwrap();
        let connection = Arc::new(self.by_hand(dir.path()));
        let outbound = remote::outbound();
        let mut known = Map::new();
        for (number, entry) in self.proof["twice"].as_array().into_iter().flatten().enumerate() {
            let name = entry["action"].as_str().expect("the name of an action");
            let (connector, _) = connectors.action(&format!("{}.{name}", self.name)).expect("an action that there is");
            let mut input = entry["with"].clone();
            fill(&mut input, &known);
            let call = Call {
                flow: "twice",
                connector,
                action: name,
                connection: Some(&connection),
                input: &input,
                key: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number as u128),
                timeout: None,
                output_limit: 1_000_000,
            };
            for time in 1..=if entry["once"] == true { 1 } else { 2 } {
                let output = outbound.perform(call).await;
                let output =
                    output.unwrap_or_else(|error| panic!("`{name}`, time {time}: {error:?}; {}", self.last_seen()));
                known.extend(output.as_object().cloned().unwrap_or_default());
            }
        }
    }

    fn last_seen(&self) -> Value {
        let seen = self.counterpart.door("GET", "seen", &Value::Null);
        let seen = seen.as_array().unwrap();
        Value::Array(seen[seen.len().saturating_sub(3)..].to_vec())
    }
}

fn prove(name: &str) {
    let proof = yaml(name, &read(&format!("tests/connectors/{name}.yaml")));
    if let Some(own) = proof.get("own") {
        for own in own.as_str().map(|one| vec![json!(one)]).or_else(|| own.as_array().cloned()).expect("names of tests")
        {
            let (file, test) = own.as_str().and_then(|own| own.split_once("::")).expect("file::test");
            let source = read(&format!("tests/it/{file}.rs"));
            // Without a name, all tests of the file.
            let wanted = if test.is_empty() { "test]".to_owned() } else { format!("fn {test}(") };
            assert!(source.contains(&wanted), "tests/it/{file}.rs has no test {test}");
        }
        return;
    }
    let mut stage = Stage::set(name);
    stage.play("succeeds");
    tokio::runtime::Runtime::new().unwrap().block_on(stage.play_twice());
    stage.play("retryable");
    stage.play("permanent");
    stage.play_repeat();
}

#[test]
fn every_connector_does_its_work_against_its_counterpart() {
    let wanted = std::env::var("MILLSTREAM_PROVE").ok();
    let wanted: Option<Vec<&str>> = wanted.as_ref().map(|names| names.split(',').collect());
    let names = names().into_iter().filter(|name| wanted.as_ref().is_none_or(|wanted| wanted.contains(&name.as_str())));
    let queue = Mutex::new(names.collect::<VecDeque<String>>());
    assert!(!queue.lock().unwrap().is_empty(), "no proof of that name");
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(name) = queue.lock().unwrap().pop_front() else { break };
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| prove(&name))) {
                        let why = panic.downcast_ref::<String>().cloned();
                        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        failed.lock().unwrap().push(format!("{name}: {}", why.unwrap_or_default()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} connectors are not proven:\n\n{}", failed.len(), failed.join("\n\n"));
}
