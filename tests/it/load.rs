//! A mix of every kind of run under load, and the account of what became of them: for suites that bring the server down.
//!
//! Clients remember each run that was acknowledged to them, and the remote each effect with its idempotency keys. Both
//! live in this process, so they outlive the server, which is what it is held to.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::account::{self, Runs, Tally};
use crate::app::{Answer, App, Remote, Reply, http};

/// Callers that begin runs, and those that answer `wait` steps.
const CALLERS: u64 = 6;
const ANSWERERS: usize = 2;
/// The kinds that callers begin, in turn.
const BEGUN: [&str; 8] = ["accept", "sync", "retry", "delay", "foreach", "child", "wait", "split"];
/// Longest time until all that was acknowledged has ended.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the remote knows: of each effect how often it happened, and with which keys it was asked for.
#[derive(Default)]
struct Ledger {
    effects: HashMap<Effect, (u64, BTreeSet<String>)>,
    asked: u64,
    /// The newest tick that called, ms since 1970.
    newest_tick: u64,
    /// Of `wait` steps that nobody has answered yet: their run's number, and the path of their URL.
    open: Vec<(u64, String)>,
}

/// Kind of run, its number, and which of its effects.
type Effect = (String, u64, String);

/// A run that was acknowledged.
#[derive(Debug, Clone)]
struct Begun {
    kind: &'static str,
    number: u64,
    run: String,
}

/// The flows, who calls them, and what they were told.
pub struct Load {
    ledger: Arc<Mutex<Ledger>>,
    hooks: BTreeMap<&'static str, String>,
    next: AtomicU64,
    begun: Mutex<Vec<Begun>>,
    /// Numbers of the runs whose answer was acknowledged.
    resumed: Mutex<BTreeSet<u64>>,
    /// Answers that nothing explains.
    strange: Mutex<Vec<String>>,
    pub tally: Tally,
    since: Timestamp,
    /// The first tick that was not added up yet, ms since 1970.
    first_tick: Option<u64>,
}

impl Load {
    /// Writes the flows into the app's folder and starts it once, to learn their URLs.
    pub fn over(app: &mut App) -> Load {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let keep = ledger.clone();
        let remote = Remote::judged(move |seen| keep.lock().unwrap().judge(&seen.body, seen.header("idempotency-key")));
        for (flow, text) in FLOWS {
            app.write(&format!("flows/{flow}.yaml"), &with_calls(flow, text, remote));
        }
        app.start();
        Load {
            ledger,
            hooks: BEGUN.into_iter().map(|kind| (kind, app.hook(kind))).collect(),
            next: AtomicU64::new(0),
            begun: Mutex::default(),
            resumed: Mutex::default(),
            strange: Mutex::default(),
            tally: Tally::default(),
            since: Timestamp::now(),
            first_tick: None,
        }
    }

    /// Clients at work while `until` goes on, which gets the app.
    pub fn during<T>(&self, app: &mut App, until: impl FnOnce(&mut App) -> T) -> T {
        let stop = AtomicBool::new(false);
        let public = app.public;
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && self.begin(public).is_ok() {
                        std::thread::yield_now()
                    }
                });
            }
            for _ in 0..ANSWERERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && self.answer(public).is_ok() {
                        std::thread::yield_now()
                    }
                });
            }
            // Also when `until` panics: what waits for the clients would wait forever.
            let _stop = Stop(&stop);
            until(app)
        })
    }

    /// Begins the next run. An error means that the server is gone.
    fn begin(&self, public: SocketAddr) -> std::io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kind = BEGUN[usize::try_from(number).unwrap() % BEGUN.len()];
        let items: Vec<Value> = (0..3).map(|index| json!({"n": number * 10 + index})).collect();
        let body = if kind == "split" { json!({"items": items}) } else { json!({"n": number, "items": [1, 2, 3]}) };
        let answer = post(public, &self.hooks[kind], &body)?;
        let mut begun = self.begun.lock().unwrap();
        match (answer.status, kind) {
            (202, "split") => {
                let runs = answer.json()["run_ids"].as_array().cloned().unwrap_or_default();
                assert_eq!(runs.len(), items.len(), "{answer:?}");
                for (run, item) in runs.iter().zip(&items) {
                    let (number, run) = (item["n"].as_u64().unwrap(), run.as_str().unwrap().to_owned());
                    begun.push(Begun { kind, number, run });
                }
            }
            // A response that does not come (502, 504) is of a run that is kept all the same.
            (200 | 202 | 502 | 504, _) => {
                begun.push(Begun { kind, number, run: answer.run() });
                if answer.status == 200 && answer.json() != json!({"n": number}) {
                    self.strange.lock().unwrap().push(format!("{kind} {number}: {answer:?}"));
                }
            }
            (429 | 503, _) => {}
            _ => self.strange.lock().unwrap().push(format!("{kind} {number}: {answer:?}")),
        }
        Ok(())
    }

    /// Answers one `wait` step, early or in time. An error means that the server is gone.
    fn answer(&self, public: SocketAddr) -> std::io::Result<()> {
        let Some((number, path)) = self.ledger.lock().unwrap().open.pop() else {
            std::thread::sleep(Duration::from_millis(2));
            return Ok(());
        };
        // What becomes of it is not known until it is acknowledged: then it is asked again.
        let back = || self.ledger.lock().unwrap().open.insert(0, (number, path.clone()));
        let answer = post(public, &path, &json!({"say": "yes"})).inspect_err(|_| back())?;
        match answer.status {
            202 => drop(self.resumed.lock().unwrap().insert(number)),
            429 | 503 => back(),
            _ => self.strange.lock().unwrap().push(format!("the answer to {number}: {answer:?}")),
        }
        Ok(())
    }

    /// Lets all that was begun since the last time end, and adds up what became of it.
    pub fn settle(&mut self, app: &App) {
        let until = Instant::now() + PATIENCE;
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
        loop {
            while !self.ledger.lock().unwrap().open.is_empty() && Instant::now() < until {
                self.answer(app.public).unwrap();
            }
            // Ticks begin in order: once there is one of after now, all those of before have begun.
            let ticked = self.ledger.lock().unwrap().newest_tick > now;
            let open = account::open(app, now);
            if (ticked && open.is_empty()) || Instant::now() > until {
                return self.add_up(&account::runs(app, self.since), &open, now);
            }
            account::release(app, &open);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn add_up(&mut self, runs: &Runs, open: &[account::Open], now: u64) {
        let mut ledger = self.ledger.lock().unwrap();
        let mut effects = std::mem::take(&mut ledger.effects);
        // Ticks that came meanwhile are for the next time.
        ledger.effects = effects.extract_if(|(kind, number, _), _| kind == "beat" && *number > now).collect();
        let resumed = std::mem::take(&mut *self.resumed.lock().unwrap());
        let happened = |kind: &str, number: u64, at: &str| {
            let effect = (kind.to_owned(), number, at.to_owned());
            effects.get(&effect).is_some_and(|(times, _)| *times > 0)
        };
        for begun in self.begun.lock().unwrap().drain(..) {
            let Begun { kind, number, run } = &begun;
            let missing = effects_of(kind).iter().find(|at| !happened(kind, *number, at)).copied();
            self.tally.begun(kind, run, runs.get(run), missing);
            if *kind == "wait" && resumed.contains(number) {
                self.tally.resumed(run, runs.get(run));
            }
        }
        self.tally.still_open(open);
        let seen = effects.keys().filter(|(kind, ..)| kind == "beat").map(|(_, tick, _)| *tick);
        // Until the first one is seen nobody knows when they are.
        if let Some(first) = self.first_tick.or(seen.min()) {
            let ticks: Vec<u64> = (first..=now).step_by(1000).collect();
            ticks.iter().for_each(|tick| self.tally.tick(*tick, happened("beat", *tick, "once")));
            // Two accounts within a second have none between them.
            self.first_tick = Some(first + ticks.len() as u64 * 1000);
        }
        for ((kind, number, at), (times, keys)) in &effects {
            self.tally.effect(kind, &format!("{number} {at}"), *times, keys);
        }
        self.tally.strange.append(&mut self.strange.lock().unwrap());
        self.since = Timestamp::now() - Duration::from_secs(20);
    }
}

impl Ledger {
    fn judge(&mut self, body: &str, key: Option<&str>) -> Reply {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return Reply::from(400) };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let number = match &body["n"] {
            Value::String(tick) => u64::try_from(tick.parse::<Timestamp>().unwrap().as_millisecond()).unwrap(),
            number => number.as_u64().unwrap_or_default(),
        };
        let (kind, at) = (text("kind"), text("at"));
        self.asked += 1;
        if kind == "beat" {
            self.newest_tick = self.newest_tick.max(number);
        }
        if let Some((_, path)) = at.split_once("/hooks/") {
            self.open.push((number, format!("/hooks/{path}")));
        }
        // Paths are long, and what they say is known.
        let at = if at.contains("/hooks/") { "ask".to_owned() } else { at };
        let (times, keys) = self.effects.entry((kind.clone(), number, at)).or_default();
        let fresh = keys.is_empty();
        keys.insert(key.unwrap_or_default().to_owned());
        // The first attempt of these always fails, and now and then another.
        if kind == "retry" && (fresh || self.asked.is_multiple_of(3)) {
            return Reply::from(503);
        }
        *times += 1;
        Reply::from(200)
    }
}

/// Lets the clients go once it is dropped.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a run of this kind does at the remote.
fn effects_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "accept" => &[],
        "sync" | "retry" | "split" | "beat" => &["once"],
        "delay" => &["before", "after"],
        "foreach" => &["item 1", "item 2", "item 3"],
        "child" => &["child", "parent"],
        "wait" => &["ask", "said yes"],
        other => panic!("no kind {other}"),
    }
}

/// The flows. `<<at>>` is a call to the remote.
const FLOWS: [(&str, &str); 10] = [
    ("accept", "trigger: {type: request}\nsteps:\n  - {id: keep, set: {n: '{{trigger.body.n}}'}}\n"),
    (
        "sync",
        "trigger: {type: request}\nsteps:\n  - {id: call, <<once>>}\n  - {id: answer, response: {body: {n: \
         '{{trigger.body.n}}'}}}\n",
    ),
    ("retry", "trigger: {type: request}\nsteps:\n  - {id: call, <<once>>}\n"),
    (
        "delay",
        "trigger: {type: request}\nsteps:\n  - {id: one, <<before>>}\n  - {id: rest, delay: 300ms}\n  - {id: two, \
         <<after>>}\n",
    ),
    (
        "foreach",
        "trigger: {type: request}\nsteps:\n  - id: each\n    foreach: '{{trigger.body.items}}'\n    concurrency: 2\n    \
         do:\n      - {id: call, <<item {{item}}>>}\n    collect: '{{item}}'\n",
    ),
    (
        "child",
        "trigger: {type: request}\nsteps:\n  - {id: ask, call: called, with: {n: '{{trigger.body.n}}'}}\n  - {id: call, \
         <<parent>>}\n",
    ),
    (
        "called",
        "trigger: {type: manual}\nsteps:\n  - {id: call, <<child>>}\n  - {id: answer, response: {body: done}}\n",
    ),
    (
        "wait",
        "trigger: {type: request}\nsteps:\n  - {id: ask, <<{{run.resume_urls.approval}}>>}\n  - {id: approval, wait: \
         1h}\n  - {id: call, <<said {{steps.approval.output.body.say}}>>}\n",
    ),
    ("split", "trigger: {type: request, split_on: '{{trigger.body.items}}'}\nsteps:\n  - {id: call, <<once>>}\n"),
    ("beat", "trigger: {type: schedule, every: 1s, missed: catch_up}\nsteps:\n  - {id: call, <<once>>}\n"),
];

/// The flow's text with its calls to the remote written out.
fn with_calls(flow: &str, text: &str, remote: SocketAddr) -> String {
    let kind = if flow == "called" { "child" } else { flow };
    let number = if flow == "beat" { "scheduled_at" } else { "n" };
    let mut parts = text.split("<<");
    let mut written = parts.next().unwrap().to_owned();
    for part in parts {
        let (at, rest) = part.split_once(">>").unwrap();
        written += &format!(
            "action: http.request, with: {{method: POST, url: \"http://{remote}/\", json: {{kind: {kind}, n: \
             \"{{{{trigger.body.{number}}}}}\", at: \"{at}\"}}}}, retry: {{attempts: 12, backoff: fixed, delay: 20ms}}"
        );
        written += rest;
    }
    written
}

fn post(public: SocketAddr, path: &str, body: &Value) -> std::io::Result<Answer> {
    http(public, "POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}
