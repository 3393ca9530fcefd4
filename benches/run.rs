//! What deciding costs: flows played without journal, clock and outside. Prints microseconds of CPU a step.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use millstream::connector::Connectors;
use millstream::flow::{Flow, Known};
use millstream::run::{Around, Body, Digest, Event, Next, Record, Request, Run, RunId, Started, Status};
use serde_json::{Value, json};
use uuid::Uuid;

/// Events of one record, as the engine has it.
const MAX_EVENTS: usize = 512;

fn main() {
    println!("{:<44} {:>9} {:>9} {:>9} {:>9} {:>9}", "flow", "steps", "µs/step", "decide", "encode", "replay");
    let sets = |count: usize| (0..count).map(|n| set(&format!("s{n}"))).collect::<Vec<_>>();
    for count in [1, 5, 20, 500] {
        measure(&format!("{count} sets"), &json!(sets(count)), 0, count);
    }
    for at_once in [1, 50] {
        for items in [1_000, 10_000, 100_000] {
            let each = json!([{"id": "each", "foreach": "{{trigger.body.items}}", "concurrency": at_once,
                "do": [set("s")], "collect": "{{item.n}}-{{vars.s}}"}]);
            measure(&format!("foreach, {items} items, {at_once} at once, collect"), &each, items, items);
        }
    }
    for items in [10_000, 100_000] {
        let each = json!([{"id": "each", "foreach": "{{trigger.body.items}}", "do": [set("s")]}]);
        measure(&format!("foreach, {items} items"), &each, items, items);
    }
    let inner = json!({"id": "inner", "foreach": "{{trigger.body.items}}", "do": [set("s")], "collect": "{{index}}"});
    let outer = json!([{"id": "outer", "foreach": "{{trigger.body.items}}", "do": [inner], "collect": "{{index}}"}]);
    measure("foreach in a foreach, 300 × 300 items", &outer, 300, 90_000);
    let until = json!([{"id": "until", "until": "{{greaterOrEquals index 4999}}", "limit": {"count": 5000, "time": "1h"},
        "do": [set("s")]}]);
    measure("until, 5000 iterations", &until, 0, 5000);
    let branches: serde_json::Map<_, _> = (0..100).map(|n| (format!("b{n}"), json!([set(&format!("s{n}"))]))).collect();
    measure("parallel, 100 branches", &json!([{"id": "all", "parallel": branches}]), 0, 100);
    let side: Vec<Value> = (0..400).map(|n| with(set(&format!("s{n}")), "run_after", json!({}))).collect();
    measure("400 sets side by side", &json!(side), 0, 400);
    let rest: Vec<Value> =
        sets(200).into_iter().enumerate().map(|(n, set)| with(set, "id", json!(format!("f{n}")))).collect();
    measure("scope, 200 sets, 200 in finally", &json!([{"id": "scope", "scope": sets(200), "finally": rest}]), 0, 400);
    let deep = (0..18).fold(
        json!([{"id": "s", "set": {"s": "{{index}}"}}]),
        |inner, n| json!([{"id": format!("p{n}"), "scope": inner}]),
    );
    let deep = json!([{"id": "each", "foreach": "{{trigger.body.items}}", "do": deep}]);
    measure("foreach, 1000 items, 18 scopes in each other", &deep, 1000, 19_000);
    let calls: Vec<Value> = (0..500)
        .map(|n| {
            json!({"id": format!("c{n}"), "action": "http.request",
        "with": {"url": "http://a.test/{{trigger.body.n}}"}})
        })
        .collect();
    measure("500 calls", &json!(calls), 0, 500);
    let call = json!([{"id": "each", "foreach": "{{trigger.body.items}}", "concurrency": 50, "do": [{"id": "c",
        "action": "http.request", "with": {"url": "http://a.test/{{item.n}}"}}], "collect": "{{steps.c.output.status}}"}]);
    measure("foreach, 10000 calls, 50 at once", &call, 10_000, 10_000);
}

fn set(id: &str) -> Value {
    json!({"id": id, "set": {"s": "{{trigger.body.n}} and more"}})
}

fn with(mut step: Value, key: &str, value: Value) -> Value {
    step[key] = value;
    step
}

fn load(steps: &Value) -> Flow {
    let text = json!({"trigger": {"type": "request"}, "steps": steps}).to_string();
    let (connectors, _) = Connectors::from_sources([]);
    let none = |_: &str| Err(String::new());
    let known = Known { connectors: &connectors, connections: None, env: None, read: &none };
    let loaded = Flow::load(Path::new("flows/bench.yaml"), &text, &known);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.flow.unwrap_or_else(|| panic!("{}", problems.join("\n")))
}

fn measure(name: &str, steps: &Value, items: usize, count: usize) {
    let flow = load(steps);
    let items: Vec<Value> = (0..items).map(|n| json!({"n": n, "sku": "0123456789", "price": 12.5})).collect();
    let body = Body::of(json!({"n": 7, "items": items}));
    let rounds = (20_000 / count).clamp(1, 2_000);
    let (decide, played) = spent(|| (0..rounds).map(|_| play(&flow, body.clone())).collect::<Vec<_>>());
    let written = |(run, records): &(Run, Vec<Vec<Event>>)| -> Vec<Vec<u8>> {
        records.iter().map(|events| Record::encode(run.started_at, events)).collect()
    };
    let (encode, written) = spent(|| played.iter().map(written).collect::<Vec<_>>());
    let read = |bytes: &Vec<u8>| Record::decode(bytes).expect("it was written here");
    let read: Vec<Vec<Record>> = written.iter().map(|records| records.iter().map(read).collect()).collect();
    let fold = |records: &Vec<Record>| drop(black_box(Run::replay(played[0].0.id, records).expect("it happened")));
    let (replay, ()) = spent(|| read.iter().for_each(fold));
    let each = |seconds: f64| seconds * 1e6 / (rounds * count) as f64;
    let (all, decide, encode, replay) = (each(decide + encode), each(decide), each(encode), each(replay));
    println!("{name:<44} {count:>9} {all:>9.2} {decide:>9.2} {encode:>9.2} {replay:>9.2}");
}

/// Seconds of CPU that this thread spends on `work`; others may share the machine.
fn spent<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let clock = || {
        let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
        spent.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds come first") / 1e9
    };
    // The kernel brings the count up to date as the thread is scheduled.
    std::thread::yield_now();
    let start = clock();
    let result = work();
    std::thread::yield_now();
    (clock() - start, result)
}

/// Plays a run to its end; every call gives `{}` at once, the oldest first. Gives the events, a list a record.
fn play(flow: &Flow, body: Body) -> (Run, Vec<Vec<Event>>) {
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
    let (id, env) = (RunId(Uuid::from_u128(7)), json!({}));
    let request = Request::posted(body);
    let digest = Digest([0; 32]);
    let started =
        Started { flow: flow.id.clone(), definition: digest, request, keys: id.0, origin: None, parent: None };
    let started = Arc::new(started);
    let mut records = vec![vec![Event::Started(started.clone())]];
    let mut run = Run::new(id, now, started);
    let around = Around { now, env: &env, resume_url: &|_, place| place.to_string() };
    let mut events = Vec::new();
    loop {
        match run.next(flow, &around) {
            Next::Record(event) => {
                run.apply(now, &event).expect("it was decided");
                events.push(event);
            }
            Next::Wait { calls, .. } => {
                records.push(std::mem::take(&mut events));
                let place = calls.first().expect("nothing else is waited for");
                let event = run.settle(flow, place, Ok(json!({})), now, 0);
                run.apply(now, &event).expect("it was waited for");
                events.push(event);
            }
            Next::Ended => break,
        }
        if events.len() >= MAX_EVENTS {
            records.push(std::mem::take(&mut events));
        }
    }
    records.push(events);
    assert_eq!(run.finished, Some(Status::Succeeded), "{:?}", run.failure);
    (run, records)
}
