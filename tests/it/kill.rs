//! kill -9 under load, again and again: what was acknowledged ends, and a repeat carries the key of the first try.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::app::{App, Remote};

const KILLS: usize = 30;
const CALLERS: usize = 8;

#[test]
fn whatever_was_acknowledged_ends_and_repeats_carry_the_same_key() {
    let remote = Remote::start();
    let flow = format!(
        "trigger: {{type: request}}\nsteps:\n  - id: first\n    action: http.request\n    with: {{method: POST, url: \
         {url}, json: {{id: \"{{{{trigger.body.id}}}}\", step: first}}}}\n    retry: {{attempts: 9, delay: 20ms}}\n  \
         - id: pause\n    when: '{{{{equals trigger.body.pause true}}}}'\n    delay: 300ms\n  - id: second\n    \
         action: http.request\n    with: {{method: POST, url: {url}, json: {{id: \"{{{{trigger.body.id}}}}\", step: \
         second}}}}\n    retry: {{attempts: 9, delay: 20ms}}\n",
        url = remote.url("/leads")
    );
    let mut app = App::with(&[("flows/crm.yaml", &flow)]);
    let hook = app.hook("crm");
    let mut random = Random(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("seed {}", random.0);
    let next_id = AtomicU32::new(0);
    let acknowledged: Mutex<BTreeMap<u32, String>> = Mutex::default();

    for _ in 0..KILLS {
        let stop = AtomicBool::new(false);
        let lifetime = Duration::from_millis(60 + random.below(140));
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let id = next_id.fetch_add(1, Ordering::Relaxed);
                        let body = json!({"id": id, "pause": id.is_multiple_of(4)}).to_string();
                        let json = [("content-type", "application/json")];
                        let answer = crate::app::http(app.public, "POST", &hook, &json, body.as_bytes());
                        if let Ok(answer) = answer
                            && answer.status == 202
                        {
                            acknowledged.lock().unwrap().insert(id, answer.run());
                        }
                    }
                });
            }
            let begun = Instant::now();
            while begun.elapsed() < lifetime {
                std::thread::yield_now();
            }
            // The process goes first, the callers notice.
            app.signal("-KILL");
            stop.store(true, Ordering::Relaxed);
        });
        app.kill();
        app.start();
    }

    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > KILLS, "only {} were acknowledged", acknowledged.len());
    // A run that was at work in three crashes in a row waits for a person: that is a promise too.
    let ended: BTreeMap<u32, Value> = acknowledged.iter().map(|(id, run)| (*id, let_end(&app, run))).collect();
    let mut repeated = 0;
    let mut keys: BTreeMap<(u64, String), BTreeSet<String>> = BTreeMap::new();
    for seen in remote.seen() {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let step = (body["id"].as_u64().unwrap(), body["step"].as_str().unwrap().to_owned());
        let key = seen.header("idempotency-key").unwrap().to_owned();
        let keys = keys.entry(step).or_default();
        repeated += usize::from(!keys.insert(key));
    }
    let mut lost = Vec::new();
    for (id, told) in ended {
        let done = ["first", "second"].iter().all(|step| keys.contains_key(&(u64::from(id), (*step).to_owned())));
        if told["status"] != "succeeded" || !done {
            lost.push(told);
        }
    }
    println!("{} acknowledged, {repeated} calls repeated", acknowledged.len());
    assert!(lost.is_empty(), "{} of {} did not end: {}", lost.len(), acknowledged.len(), lost[0]);
    let doubled: Vec<_> = keys.iter().filter(|(_, keys)| keys.len() > 1).collect();
    assert!(doubled.is_empty(), "called with different keys: {doubled:?}");
}

/// The run at its end; on the way there it is let go on where it is held as a suspect.
fn let_end(app: &App, run: &str) -> Value {
    loop {
        let told = app.run_when(run, &["succeeded", "failed", "cancelled", "timed_out", "held"]);
        if told["status"] != "held" {
            return told;
        }
        assert!(told["reason"].as_str().unwrap_or_default().contains("went down"), "{told}");
        assert_eq!(app.api("POST", &format!("/runs/{run}/resume"), Some(&json!({}))).status, 200);
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
