//! A slow flow delays no other, and `concurrency` holds: over the limit, over a crash, over an edited file.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use crate::app::{App, Remote, eventually};

/// A target that answers a call only when it is told to.
struct Slow {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// Bodies in the order they came, and how many calls were then under way.
    came: Vec<(String, usize)>,
    under_way: usize,
    /// Calls that may be answered yet.
    allowed: usize,
    /// Calls of an earlier one are broken off.
    age: usize,
}

impl Slow {
    fn start() -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || while answer(&stream, &shared).is_some() {});
            }
        });
        Slow { address, state }
    }

    /// Lets so many more calls be answered.
    fn let_go(&self, calls: usize) {
        self.state.0.lock().unwrap().allowed += calls;
        self.state.1.notify_all();
    }

    fn bodies(&self) -> Vec<String> {
        self.state.0.lock().unwrap().came.iter().map(|(body, _)| body.clone()).collect()
    }

    fn most_at_once(&self) -> usize {
        self.state.0.lock().unwrap().came.iter().map(|(_, under_way)| *under_way).max().unwrap_or(0)
    }

    /// Forgets what came, and that calls are under way whose caller is gone.
    fn forget(&self) {
        let mut state = self.state.0.lock().unwrap();
        *state = State { age: state.age + 1, ..State::default() };
        drop(state);
        self.state.1.notify_all();
    }

    /// A flow that posts the request's `n` here.
    fn flow(&self, head: &str) -> String {
        let url = format!("http://{}/", self.address);
        format!(
            "trigger: {{type: request}}\n{head}steps:\n  - id: call\n    action: http.request\n    with: {{method: POST, \
             url: \"{url}\", json: \"{{{{trigger.body.n}}}}\"}}\n    timeout: 10m\n    retry: none\n"
        )
    }
}

fn answer(stream: &TcpStream, shared: &(Mutex<State>, Condvar)) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut state = shared.0.lock().unwrap();
    state.under_way += 1;
    let under_way = state.under_way;
    state.came.push((String::from_utf8(body).ok()?, under_way));
    let age = state.age;
    while state.age == age && state.allowed == 0 {
        state = shared.1.wait(state).unwrap();
    }
    if state.age != age {
        return None;
    }
    state.allowed -= 1;
    // Before the caller knows: what it sends next must not be counted beside this one.
    state.under_way = state.under_way.saturating_sub(1);
    drop(state);
    (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").ok()
}

const SMALL: &str = "limits: {runs: 8}\noutbound: {allow: [127.0.0.0/8]}\n";

fn quick(remote: &Remote) -> String {
    let url = remote.url("/");
    format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{url: \"{url}\"}}\n"
    )
}

fn post(app: &App, flow: &str, numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let posted = numbers.map(|n| app.post(flow, &json!({"n": n})));
    posted.map(|answer| if answer.status == 202 { answer.run() } else { panic!("{answer:?}") }).collect()
}

fn count(app: &App, flow: &str, status: &str) -> usize {
    app.runs(&format!("flow={flow}&status={status}&limit=1000")).len()
}

#[test]
fn flows_whose_targets_hang_delay_no_other() {
    // Given two flows whose target never answers, each with far more runs than there are slots.
    let (slow, remote) = (Slow::start(), Remote::start());
    let app = App::with(&[
        ("millstream.yaml", SMALL),
        ("flows/hung.yaml", &slow.flow("")),
        ("flows/hung_too.yaml", &slow.flow("")),
        ("flows/quick.yaml", &quick(&remote)),
    ]);
    post(&app, "hung", 1..=40);
    eventually(|| slow.bodies().len() == 4);
    post(&app, "hung_too", 1..=40);
    eventually(|| slow.bodies().len() == 6);
    // When another flow has work.
    let runs = post(&app, "quick", 1..=30);
    // Then all of it is done while the others still hang.
    for run in runs {
        assert_eq!(app.ended(&run)["status"], "succeeded");
    }
    assert_eq!(slow.bodies().len(), 6, "half of the slots, and half of the rest");
    assert_eq!((count(&app, "hung", "queued"), count(&app, "hung_too", "queued")), (36, 38));
    // And what hung goes on once its target answers.
    slow.let_go(80);
    eventually(|| count(&app, "hung", "succeeded") + count(&app, "hung_too", "succeeded") == 80);
    eventually(|| app.metric("millstream_slots_free") == 8);
}

#[test]
fn a_flow_of_one_at_a_time_keeps_the_order_and_refuses_what_is_too_much() {
    let slow = Slow::start();
    let app = App::with(&[("flows/one.yaml", &slow.flow("concurrency: {running: 1, queued: 2}\n"))]);
    // Given one at work and two in line.
    let runs = post(&app, "one", 1..=3);
    eventually(|| slow.bodies().len() == 1);
    // When one more comes.
    let refused = app.post("one", &json!({"n": 4}));
    // Then it is told to come again, and nothing is kept of it.
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("flow_busy")), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.json()["retry"], true);
    assert_eq!((app.runs("flow=one").len(), app.metric("millstream_requests_limited_total")), (3, 1));
    // Then the others run one after the other, and there is room again.
    slow.let_go(1);
    app.ended(&runs[0]);
    eventually(|| slow.bodies().len() == 2);
    post(&app, "one", 5..=5);
    slow.let_go(3);
    eventually(|| count(&app, "one", "succeeded") == 4);
    assert_eq!((slow.bodies(), slow.most_at_once()), (["1", "2", "3", "5"].map(String::from).to_vec(), 1));
}

#[test]
fn a_flow_at_its_limit_drains_in_order_after_kill_9() {
    let slow = Slow::start();
    let mut app = App::with(&[("flows/one.yaml", &slow.flow("concurrency: 1\n"))]);
    for round in 1..=2 {
        post(&app, "one", 1..=5);
        eventually(|| !slow.bodies().is_empty());
        // When the process is killed with one at work and four in line, twice.
        for _ in 0..2 {
            app.kill();
            slow.forget();
            app.start();
            eventually(|| slow.bodies() == ["1"]);
            assert_eq!(count(&app, "one", "queued"), 4);
        }
        // Then they go on, one at a time and in order, and no place is lost.
        slow.let_go(5);
        eventually(|| count(&app, "one", "succeeded") == 5 * round);
        assert_eq!((slow.bodies(), slow.most_at_once()), (["1", "2", "3", "4", "5"].map(String::from).to_vec(), 1));
        slow.forget();
    }
}

#[test]
fn an_edited_limit_lets_queued_runs_go_on_at_once() {
    let slow = Slow::start();
    let app = App::with(&[("flows/one.yaml", &slow.flow("concurrency: 1\n"))]);
    post(&app, "one", 1..=5);
    eventually(|| slow.bodies().len() == 1);
    app.write("flows/one.yaml", &slow.flow("concurrency: 3\n"));
    eventually(|| slow.bodies().len() == 3);
    assert_eq!(count(&app, "one", "queued"), 2);
    // Without it, the slots alone are the limit.
    app.write("flows/one.yaml", &slow.flow(""));
    eventually(|| slow.bodies().len() == 5);
    slow.let_go(5);
    eventually(|| count(&app, "one", "succeeded") == 5);
}

#[test]
fn a_waiting_run_counts_over_a_restart_too_until_a_person_ends_it() {
    let remote = Remote::start();
    let url = remote.url("/");
    let flow = format!(
        "trigger: {{type: request}}\nconcurrency: 1\nsteps:\n  - id: wait\n    delay: \"{{{{trigger.body.time}}}}\"\n  \
         - id: call\n    action: http.request\n    with: {{url: \"{url}\"}}\n"
    );
    let mut app = App::with(&[("flows/one.yaml", &flow)]);
    let first = app.post("one", &json!({"time": "1h"})).run();
    let second = app.post("one", &json!({"time": "10ms"})).run();
    app.run_when(&first, &["waiting"]);
    assert_eq!(app.run(&second)["status"], "queued");
    app.kill();
    app.start();
    assert_eq!((&app.run(&first)["status"], &app.run(&second)["status"]), (&json!("waiting"), &json!("queued")));
    // A queued run can be ended though its turn has not come.
    let third = app.post("one", &json!({"time": "10ms"})).run();
    assert_eq!(app.api("POST", &format!("/runs/{third}/cancel"), None).status, 200);
    assert_eq!(app.run(&third)["status"], "cancelled");
    assert_eq!(app.api("POST", &format!("/runs/{first}/cancel"), None).status, 200);
    assert_eq!(app.ended(&second)["status"], "succeeded");
    assert_eq!(remote.seen().len(), 1);
}

#[test]
fn a_held_run_makes_room_and_lines_up_again_when_it_is_resumed() {
    let slow = Slow::start();
    let flow = slow.flow("concurrency: 1\n").replace("timeout: 10m", "connection: api");
    let settings = format!("settings: {{base_url: \"http://{}\"}}", slow.address);
    let connections = format!("api:\n  connector: http\n  {settings}\n  credentials: {{token: {{file: token}}}}\n");
    let app = App::with(&[("connections.yaml", &connections), ("flows/one.yaml", &flow)]);
    // Given two runs that lack a credential: the first made room for the second.
    let runs = post(&app, "one", 1..=2);
    runs.iter().for_each(|run| assert_eq!(app.run_when(run, &["held"])["status"], "held"));
    app.write("token", "t");
    // When a person lets both go on.
    let resume = |run: &String| app.api("POST", &format!("/runs/{run}/resume"), None).status;
    assert_eq!(resume(&runs[0]), 200);
    eventually(|| slow.bodies().len() == 1);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| resume(&runs[1]));
        // Then the second waits for its turn.
        eventually(|| app.metric("millstream_runs_queued") == 1);
        assert_eq!(slow.bodies().len(), 1);
        slow.let_go(2);
        assert_eq!(second.join().unwrap(), 200);
    });
    runs.iter().for_each(|run| assert_eq!(app.ended(run)["status"], "succeeded"));
    assert_eq!((slow.bodies(), slow.most_at_once()), (["1", "2"].map(String::from).to_vec(), 1));
}

#[test]
fn a_connections_limit_makes_calls_wait_and_fails_none() {
    let slow = Slow::start();
    let connections = format!(
        "api:\n  connector: http\n  settings: {{base_url: \"http://{}\"}}\n  limits: {{concurrent: 2, rate: {{requests: 100, \
         per: 1s}}}}\n",
        slow.address
    );
    let flow = slow.flow("").replace("timeout: 10m", "connection: api\n    timeout: 20s");
    let flows = [("connections.yaml", connections.as_str()), ("flows/a.yaml", &flow), ("flows/b.yaml", &flow)];
    let app = App::with(&flows);
    // Given two flows with more calls than the connection allows at once.
    post(&app, "a", 1..=8);
    eventually(|| slow.bodies().len() == 2);
    post(&app, "b", 1..=8);
    eventually(|| app.metric("millstream_runs_working") == 16);
    // When the target answers them one by one.
    for answered in 1..=16 {
        slow.let_go(1);
        eventually(|| count(&app, "a", "succeeded") + count(&app, "b", "succeeded") == answered);
    }
    // Then none has failed for having waited, and never were there more than two.
    assert_eq!((slow.most_at_once(), slow.bodies().len()), (2, 16));
}
