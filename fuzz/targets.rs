//! What is fuzzed: everything that reads what somebody else wrote. Shared by libFuzzer (`tests/fuzz`) and by the quick
//! form in the normal tests (`tests/it/fuzz.rs`).
//!
//! A target must neither panic nor take long, whatever it gets; what it returns does not matter.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use millstream::connector::{Answer, Class, Connector, Connectors, Context, Failure, judge, prepare};
use millstream::flow::{Cron, Flow, Known, Missed, Rhythm, Schedule};
use millstream::mapping::{Condition, JsonScope, Key, Mapping, Named, Names, Scope as _, Template, parse_json};
use millstream::run::{Around, Body, Digest, Event, Next, Record, Request, Run, RunId, Started, history};
use millstream::schema::{Schema, Shape};
use serde_json::{Value, json};
use uuid::Uuid;

/// One of them.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "flow", run: flow },
    Target { name: "connector", run: connector },
    Target { name: "template", run: template },
    Target { name: "body", run: body },
    Target { name: "schema", run: schema },
    Target { name: "record", run: record },
    Target { name: "cron", run: cron },
    Target { name: "jsonpath", run: jsonpath },
];

/// Runs a target on one input.
///
/// # Errors
/// What went wrong, if it panicked, or took more than this much CPU time.
pub fn run(target: Target, data: &[u8], max_ms: u64) -> Result<(), String> {
    let before = cpu_ms();
    catch_unwind(AssertUnwindSafe(|| (target.run)(data))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        format!("it panicked: {text}")
    })?;
    let took = cpu_ms() - before;
    if took > max_ms { Err(format!("{} bytes took {took} ms", data.len())) } else { Ok(()) }
}

/// CPU time of this thread, as Linux counts it.
fn cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}

static SHIPPED: LazyLock<Connectors> = LazyLock::new(Connectors::shipped);

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap_or_default()
}

/// A flow file; where it has no errors, one run of it.
fn flow(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let connections = [("crm", "dynamics365"), ("team", "slack"), ("db", "sql"), ("api", "http")];
    let connections = connections.map(|(name, connector)| (name.to_owned(), connector.to_owned())).into();
    let read = |_: &str| Ok(r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#.to_owned());
    let env = ["STAGE".to_owned()];
    let known = Known { connectors: &SHIPPED, connections: Some(&connections), env: Some(&env), read: &read };
    let loaded = Flow::load(Path::new("flows/fuzzed.yaml"), text, &known);
    for problem in &loaded.problems {
        let _ = problem.to_string();
    }
    if let Some(flow) = loaded.flow {
        let _ = play(&flow);
    }
}

/// Decides and applies as the engine does, with an outside that sometimes fails. The run's records.
pub fn play(flow: &Flow) -> Vec<Vec<u8>> {
    let body = json!({"name": "Ann", "items": [{"id": 1, "qty": 2.50}, {"id": 2}], "n": 3, "id": "x"});
    let body = flow.trigger.fill(body);
    let started = Arc::new(Started {
        flow: flow.id.clone(),
        definition: Digest([7; 32]),
        request: Request::posted(Body::of(body)),
        keys: Uuid::from_u128(1),
        origin: None,
        parent: None,
    });
    let id = RunId(Uuid::from_u128(2));
    let mut records = vec![Record::encode(now(), &[Event::Started(started.clone())])];
    let mut run = Run::new(id, now(), started);
    let env = json!({"STAGE": "test"});
    let mut now = now();
    let mut calls = 0;
    for _ in 0..300 {
        let event = match run.next(flow, &Around::new(now, &env)) {
            Next::Ended | Next::Wait { held: true, .. } => break,
            Next::Record(event) => event,
            Next::Wait { calls: places, children, wake, .. } => match places.first().or(children.first()) {
                Some(place) => {
                    calls += 1;
                    let result = match calls % 3 {
                        0 => Err(Failure::new(Class::Retry, "fuzz.no", "no")),
                        _ => Ok(json!({"status": 200, "headers": {}, "body": {"id": calls}})),
                    };
                    run.settle(flow, place, result, now, 5)
                }
                None => match wake.and_then(|at| Timestamp::from_millisecond(at).ok()) {
                    Some(at) if at > now => {
                        now = at;
                        continue;
                    }
                    _ => break,
                },
            },
        };
        let text = Record::encode(now, std::slice::from_ref(&event));
        assert!(Record::decode(&text).is_ok(), "a record cannot be read again: {}", String::from_utf8_lossy(&text));
        if let Err(illegal) = run.apply(now, &event) {
            panic!("a decision does not follow from the state: {illegal}: {event:?}");
        }
        records.push(text);
    }
    records
}

/// A connector file; where it has no errors, a request of each action, and what is made of an answer.
fn connector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let connector = match Connector::parse("connectors/fuzzed.yaml", text) {
        Ok(connector) => connector,
        Err(problems) => return problems.iter().for_each(|problem| drop(problem.to_string())),
    };
    let inputs =
        [json!({}), json!({"table": "leads", "record": {"a": "b"}, "id": 7, "text": "a\r\nb", "channel": "../x"})];
    for action in connector.actions.values() {
        for input in &inputs {
            let context = || Context::new(&connector, action, None, input, Uuid::from_u128(3), now());
            let _ = prepare(&connector, action, None, &context()).map(|request| request.preview());
            for (status, body) in [(200, r#"{"id": 1, "value": [{"a": null}]}"#), (429, "<html>"), (404, "{")] {
                let headers = vec![("retry-after".to_owned(), "5".to_owned())];
                let answer = Answer { status, headers, body: body.into(), cut: false };
                let _ = judge(&connector, action, context(), &answer, now());
            }
        }
    }
}

/// Nothing is known before anything ran.
struct Unknown;

impl Names for Unknown {
    fn find(&self, _path: &[Key]) -> Named<'_> {
        Named::of(Shape::any(), 0)
    }
}

static SCOPE: LazyLock<JsonScope> = LazyLock::new(|| {
    let body = json!({
        "Name": "O'Brien & Söhne", "n": 3, "big": 12345678901234567890_u64, "rate": 0.1, "none": null, "yes": true,
        "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}], "at": "2026-03-29T01:30:00Z", "nested": {"a": [[1]]},
        "text": "{{secrets.x}} %41 <a>&amp;</a> a,b;c\r\n", "b64": "YWJj", "json": "{\"a\":[1,2]}", "@odata.type": "x",
    });
    let mut scope = JsonScope::new(json!({
        "trigger": {"body": body, "headers": {"x-a": "1"}, "query": {"q": "v"}, "path": "", "method": "POST"},
        "steps": {"one": {"output": {"id": 7}, "status": "succeeded"}}, "vars": {"v": [1, 2, 3]}, "item": "i",
        "index": 0, "env": {"STAGE": "test"}, "flow": {"id": "f"}, "run": {"id": "r"},
    }));
    scope.now = now();
    scope
});

/// A template, a condition and a mapping's leaf; checked, and evaluated against a scope.
fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(template) = Template::parse(text) {
        let _ = template.check(&Unknown);
        if let Ok(Some(value)) = template.render(&*SCOPE) {
            let _ = value.to_string();
        }
    }
    if let Ok(condition) = Condition::parse(text) {
        let _ = (condition.check(&Unknown), condition.holds(&*SCOPE));
    }
    if let Ok(mapping) = Mapping::parse(&json!({"a": [text, {text: 1}]})) {
        let _ = mapping.render(&*SCOPE);
    }
}

/// A content type, a line break, and the body.
fn body(data: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers can be made");
    }
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (content_type, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let read = RUNTIME.with(|runtime| runtime.block_on(millstream::server::read_body(content_type, body.to_vec())));
    // What is let in is journaled, and must be read again.
    if let Ok(body) = read {
        let started = Started {
            flow: "f".into(),
            definition: Digest([0; 32]),
            request: Request::posted(body),
            keys: Uuid::nil(),
            origin: None,
            parent: None,
        };
        let text = Record::encode(now(), &[Event::Started(Arc::new(started))]);
        let read = Record::decode(&text);
        assert!(read.is_ok(), "a body that was let in cannot be read again: {:?}", read.err());
    }
}

/// A JSON Schema on the first line, and a value on the second.
fn schema(data: &[u8]) {
    let (first, second) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(source) = parse_json(first) else { return };
    let Ok(schema) = Schema::compile(&source) else { return };
    let value = parse_json(second).unwrap_or(Value::Null);
    let _ = schema.violations(&value);
    let _ = schema.shape().get("a");
}

/// Records of a run, one a line.
fn record(data: &[u8]) {
    let mut records = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        match Record::decode(line) {
            Ok(record) => records.push(record),
            Err(unreadable) => drop(unreadable.to_string()),
        }
    }
    let id = RunId(Uuid::from_u128(2));
    let _ = history(id, &records, None).to_string();
    let run = match Run::replay(id, &records) {
        Ok(run) => run,
        Err(illegal) => return drop(illegal.to_string()),
    };
    run.each(&mut |_, node| drop(node.key.to_string()));
    let _ = run.children();
    // The definition that a run pins is another entry: the two might not fit each other.
    for flow in PINNED.iter() {
        let _ = run.next(flow, &Around::new(now(), &Value::Null));
        let _ = run.deadline(flow);
    }
}

/// Flows with most kinds of steps.
pub static PINNED: LazyLock<Vec<Flow>> = LazyLock::new(|| {
    let texts = [
        "trigger: {type: request}\nsteps:\n  - {id: a, set: {v: 1}}\n",
        "trigger: {type: request}\ntimeout: 1h\nsteps:\n  - id: each\n    foreach: '{{trigger.body.items}}'\n    \
         concurrency: 2\n    do:\n      - {id: call, action: http.request, with: {url: 'http://x'}}\n    collect: \
         '{{item}}'\n  - id: both\n    parallel:\n      l: [{id: nap, delay: 5s}]\n      r: [{id: w, wait: 1h}]\n  - id: \
         poll\n    until: '{{greater index 2}}'\n    do: [{id: p, delay: 1s}]\n  - {id: ask, call: other}\n",
    ];
    let read = |_: &str| Err("there are no files".to_owned());
    let known = Known { connectors: &SHIPPED, connections: None, env: None, read: &read };
    let flows = texts.map(|text| Flow::load(Path::new("flows/pinned.yaml"), text, &known));
    flows.into_iter().map(|loaded| loaded.flow.unwrap_or_else(|| panic!("{:?}", loaded.problems))).collect()
});

/// A pattern on the first line, a time in s since 1970 on the second.
fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, at) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(cron) = Cron::parse(pattern) else { return };
    // Any time that a clock can show.
    let at = at.trim().parse().ok().and_then(|at| Timestamp::from_second(at).ok());
    let at_ms = at.unwrap_or_else(now).as_millisecond();
    for zone in [TimeZone::UTC, TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC)] {
        let schedule = Schedule { rhythm: Rhythm::Cron(cron.clone()), zone, missed: Missed::Skip };
        if let Some(next) = schedule.next_after(at_ms) {
            assert!(next > at_ms, "the tick after {at_ms} is {next}");
            let _ = schedule.body(next);
        }
        if let Some(last) = schedule.last_before(at_ms) {
            assert!(last <= at_ms, "the tick before {at_ms} is {last}");
        }
    }
}

/// A path, as a template has it; evaluated on documents.
fn jsonpath(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if path.contains(['"', '\\']) {
        return;
    }
    let Ok(template) = Template::parse(&format!("{{{{jsonpath \"{path}\" trigger.body}}}}")) else { return };
    let _ = template.render(&*SCOPE);
    let root = SCOPE.find(&[]).map(|(value, _)| Cow::into_owned(value)).unwrap_or_default();
    let deep = json!({"trigger": {"body": [root.clone(), [root.clone(), [root]]]}});
    let _ = template.render(&JsonScope::new(deep));
}
