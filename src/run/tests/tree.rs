//! Flows made by dice: a small tree of its own, and the file of it.

use serde_json::{Map, Value, json};

/// Choices, from bytes. Once they are used up, each choice is the first, which is the simplest: so flows shrink.
pub struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    pub fn new(bytes: Vec<u8>) -> Dice {
        Dice { bytes, at: 0 }
    }

    /// A number below `count`.
    pub fn of(&mut self, count: u32) -> u32 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        u32::from(byte) % count
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.of(count) == count - 1
    }
}

pub type List = Vec<Twig>;

/// A step.
#[derive(Debug)]
pub struct Twig {
    pub id: String,
    pub what: What,
    pub when: Option<Cond>,
    pub continues: bool,
    /// `None`: after the step above.
    pub after: Option<Vec<(usize, Vec<&'static str>)>>,
}

#[derive(Debug, Clone, Copy)]
pub enum Cond {
    Is(Option<bool>),
    /// Gives a number.
    Bad,
    /// The loop's index is at least this.
    From(u32),
    /// How a step before ended.
    Ended(usize, &'static str),
}

#[derive(Debug)]
pub enum What {
    /// Counts, so that a second time in the same iteration or branch would show.
    Count,
    Act {
        attempts: u32,
    },
    Child {
        attempts: u32,
        timeout: Option<i64>,
    },
    /// `None`: gives a value; else fails with this code.
    Mocked(Option<&'static str>),
    Respond,
    If(Cond, List, List),
    /// The case taken, or by the loop's index; the last list is the default.
    Switch(Option<usize>, Vec<List>),
    Each {
        /// `None`: what is no list.
        items: Option<u32>,
        at_once: u32,
        collect: Collect,
        body: List,
    },
    Until {
        holds: Cond,
        count: u32,
        time: i64,
        fails: bool,
        body: List,
    },
    Parallel(Vec<List>),
    Scope(List, Option<List>, Option<List>),
    Delay(i64),
    /// So long after the start.
    DelayUntil(i64),
    Wait(Option<i64>),
    Terminate(&'static str),
}

#[derive(Debug)]
pub enum Collect {
    Nothing,
    Index,
    /// What a step of the body counted.
    Counted(String),
}

/// A whole flow.
#[derive(Debug)]
pub struct Tree {
    pub steps: List,
    pub on_failure: Option<List>,
    pub timeout: Option<i64>,
}

/// What lengths are counted in, ms: long, so that an answer from outside and a timer hardly ever meet in one of them, where
/// either may come first.
pub const UNIT: i64 = 1_000_000;
const STATUSES: [&str; 4] = ["succeeded", "failed", "skipped", "timed_out"];
/// How deep lists stand in each other.
const DEEPEST: u32 = 4;
const MOST_STEPS: u32 = 25;

struct Grower<'d> {
    dice: &'d mut Dice,
    steps: u32,
    responds: bool,
}

#[derive(Clone, Copy)]
struct Spot {
    depth: u32,
    in_loop: bool,
}

impl Tree {
    pub fn grow(dice: &mut Dice) -> Tree {
        let mut grower = Grower { dice, steps: 0, responds: false };
        let spot = Spot { depth: 1, in_loop: false };
        let steps = grower.list(spot);
        let on_failure = grower.dice.one_in(3).then(|| grower.list(Spot { depth: 3, ..spot }));
        let timeout = grower.dice.one_in(4).then(|| i64::from(1 + grower.dice.of(30)) * UNIT);
        Tree { steps, on_failure, timeout }
    }

    /// The file; JSON is YAML too.
    pub fn file(&self) -> String {
        let mut flow = json!({"trigger": {"type": "request"}, "steps": written(&self.steps)});
        if let Some(steps) = &self.on_failure {
            flow["on_failure"] = written(steps);
        }
        if let Some(timeout) = self.timeout {
            flow["timeout"] = length(timeout);
        }
        serde_json::to_string_pretty(&flow).unwrap()
    }

    /// What conditions and loops of every tree read.
    pub fn body() -> Value {
        let lists = (0..5).map(|count| (format!("l{count}"), (0..count).map(|n| json!(n * 10)).collect()));
        let mut body: Map<String, Value> = lists.collect();
        body.extend([("yes".to_owned(), json!(true)), ("no".to_owned(), json!(false)), ("n".to_owned(), json!(5))]);
        Value::Object(body)
    }
}

impl Grower<'_> {
    fn list(&mut self, spot: Spot) -> List {
        let mut list = List::new();
        for _ in 0..1 + self.dice.of(5) {
            if self.steps >= MOST_STEPS {
                break;
            }
            let twig = self.twig(&list, spot);
            list.push(twig);
        }
        list
    }

    fn inner(&mut self, spot: Spot, in_loop: bool) -> List {
        if self.dice.one_in(12) { List::new() } else { self.list(Spot { depth: spot.depth + 1, in_loop }) }
    }

    fn twig(&mut self, above: &List, spot: Spot) -> Twig {
        self.steps += 1;
        let id = format!("s{}", self.steps);
        let after = (!above.is_empty() && self.dice.one_in(3)).then(|| {
            let mut after = Vec::new();
            for position in 0..above.len() {
                if self.dice.one_in(3) {
                    let mask = 1 + self.dice.of(15);
                    let statuses = STATUSES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
                    after.push((position, statuses.map(|(_, status)| *status).collect()));
                }
            }
            after
        });
        let before = match &after {
            Some(after) => after.first().map(|(position, _)| *position),
            None => above.len().checked_sub(1),
        };
        let before = before.map(|position| (position, above[position].id.as_str()));
        let when = self.dice.one_in(4).then(|| self.cond(before.map(|before| before.0), spot));
        let continues = self.dice.one_in(6);
        let what = self.what(before.map(|before| before.0), spot);
        Twig { id, what, when, continues, after }
    }

    fn cond(&mut self, before: Option<usize>, spot: Spot) -> Cond {
        match self.dice.of(6) {
            1 => Cond::Is(Some(false)),
            2 => Cond::Is(None),
            3 if self.dice.one_in(3) => Cond::Bad,
            4 if spot.in_loop => Cond::From(self.dice.of(3)),
            5 => match before {
                Some(position) => Cond::Ended(position, STATUSES[self.dice.of(4) as usize]),
                None => Cond::Is(Some(true)),
            },
            _ => Cond::Is(Some(true)),
        }
    }

    fn what(&mut self, before: Option<usize>, spot: Spot) -> What {
        let seconds = |dice: &mut Dice, most: u32| i64::from(dice.of(most)) * UNIT;
        let kinds = if spot.depth < DEEPEST { 16 } else { 10 };
        match self.dice.of(kinds) {
            1 | 2 => What::Act { attempts: 1 + self.dice.of(3) },
            3 => {
                let timeout = self.dice.one_in(2).then(|| seconds(self.dice, 9) + UNIT);
                What::Child { attempts: 1 + self.dice.of(3), timeout }
            }
            4 => What::Mocked([None, Some("mock.bad"), Some("outbound.timeout")][self.dice.of(3) as usize]),
            5 if !spot.in_loop && !self.responds => {
                self.responds = true;
                What::Respond
            }
            6 => What::Delay(seconds(self.dice, 10)),
            7 => What::DelayUntil(seconds(self.dice, 20)),
            8 => What::Wait((!self.dice.one_in(5)).then(|| seconds(self.dice, 20) + UNIT)),
            9 if self.dice.one_in(3) => What::Terminate(["succeeded", "failed", "cancelled"][self.dice.of(3) as usize]),
            10 => {
                let cond = self.cond(before, spot);
                What::If(cond, self.inner(spot, spot.in_loop), self.inner(spot, spot.in_loop))
            }
            11 => {
                let lists: Vec<List> = (0..1 + self.dice.of(3)).map(|_| self.inner(spot, spot.in_loop)).collect();
                let taken = self.dice.of(lists.len() as u32) as usize;
                What::Switch((!spot.in_loop || self.dice.one_in(2)).then_some(taken), lists)
            }
            12 => {
                let items = (!self.dice.one_in(12)).then(|| self.dice.of(5));
                let at_once = 1 + self.dice.of(3);
                let body = self.inner(spot, true);
                let counted = body.iter().find(|twig| matches!(twig.what, What::Count));
                let collect = match (self.dice.of(3), counted) {
                    (0, _) => Collect::Nothing,
                    (1, Some(twig)) => Collect::Counted(twig.id.clone()),
                    _ => Collect::Index,
                };
                What::Each { items, at_once, collect, body }
            }
            13 => {
                let holds = if self.dice.one_in(8) { Cond::Bad } else { Cond::From(self.dice.of(4)) };
                let time = if self.dice.one_in(3) { 1 + seconds(self.dice, 8) } else { 1000 * UNIT };
                let (count, fails) = (1 + self.dice.of(4), !self.dice.one_in(3));
                What::Until { holds, count, time, fails, body: self.inner(spot, true) }
            }
            14 => What::Parallel((0..1 + self.dice.of(3)).map(|_| self.inner(spot, spot.in_loop)).collect()),
            15 => {
                let body = self.inner(spot, spot.in_loop);
                let catch = self.dice.one_in(2).then(|| self.inner(spot, spot.in_loop));
                let last = self.dice.one_in(2).then(|| self.inner(spot, spot.in_loop));
                What::Scope(body, catch, last)
            }
            _ => What::Count,
        }
    }
}

fn length(ms: i64) -> Value {
    json!(format!("{ms}ms"))
}

/// A time so long after the start of every played run.
fn moment(ms: i64) -> Value {
    let start: jiff::Timestamp = super::START.parse().unwrap();
    json!(jiff::Timestamp::from_millisecond(start.as_millisecond() + ms).unwrap().to_string())
}

fn text(cond: Cond, list: &List) -> Value {
    json!(match cond {
        Cond::Is(Some(true)) => "{{trigger.body.yes}}".to_owned(),
        Cond::Is(Some(false)) => "{{trigger.body.no}}".to_owned(),
        Cond::Is(None) => "{{trigger.body.nothing}}".to_owned(),
        Cond::Bad => "{{trigger.body.n}}".to_owned(),
        Cond::From(index) => format!("{{{{greaterOrEquals index {index}}}}}"),
        Cond::Ended(position, how) => format!("{{{{equals steps.{}.status '{how}'}}}}", list[position].id),
    })
}

fn written(list: &List) -> Value {
    list.iter().map(|twig| one(twig, list)).collect()
}

fn one(twig: &Twig, list: &List) -> Value {
    let id = &twig.id;
    let retry = |attempts: &u32| json!({"attempts": attempts, "backoff": "fixed", "delay": "3s"});
    let mut step = match &twig.what {
        What::Count => {
            let name = format!("v_{id}");
            json!({"set": {name.clone(): format!("{{{{add (default vars.{name} 0) 1}}}}")}})
        }
        What::Act { attempts } => {
            let with = json!({"url": format!("http://a.test/{id}")});
            json!({"action": "http.request", "with": with, "retry": retry(attempts)})
        }
        What::Child { attempts, timeout } => {
            let mut step = json!({"call": "other", "with": {"from": id}, "retry": retry(attempts)});
            if let Some(timeout) = timeout {
                step["timeout"] = length(*timeout);
            }
            step
        }
        What::Mocked(code) => {
            let mock = match code {
                Some(code) => json!({"error": {"code": code, "message": "as told"}}),
                None => json!({"output": {"mocked": id}}),
            };
            json!({"action": "http.request", "with": {"url": "http://m.test"}, "mock": mock})
        }
        What::Respond => json!({"response": {"body": {"by": id}}}),
        What::If(cond, then, otherwise) => {
            json!({"if": text(*cond, list), "then": written(then), "else": written(otherwise)})
        }
        What::Switch(taken, lists) => {
            let (default, cases) = lists.split_last().unwrap();
            let cases: Vec<Value> =
                cases.iter().enumerate().map(|(n, list)| json!({"value": n, "do": written(list)})).collect();
            let on = match taken {
                Some(taken) => format!("{{{{add 0 {taken}}}}}"),
                None => "{{index}}".to_owned(),
            };
            json!({"switch": on, "cases": cases, "default": written(default)})
        }
        What::Each { items, at_once, collect, body } => {
            let items = match items {
                Some(count) => format!("{{{{trigger.body.l{count}}}}}"),
                None => "{{trigger.body.n}}".to_owned(),
            };
            let mut step = json!({"foreach": items, "concurrency": at_once, "do": written(body)});
            match collect {
                Collect::Nothing => {}
                Collect::Index => step["collect"] = json!("{{index}}:{{item}}"),
                Collect::Counted(step_id) => step["collect"] = json!(format!("{{{{vars.v_{step_id}}}}}")),
            }
            step
        }
        What::Until { holds, count, time, fails, body } => json!({
            "until": text(*holds, list), "limit": {"count": count, "time": length(*time)},
            "on_limit": if *fails { "fail" } else { "continue" }, "do": written(body),
        }),
        What::Parallel(branches) => {
            let branches = branches.iter().enumerate().map(|(n, list)| (format!("b{n}"), written(list)));
            json!({"parallel": branches.collect::<Map<_, _>>()})
        }
        What::Scope(body, catch, last) => {
            let mut step = json!({"scope": written(body)});
            for (key, list) in [("catch", catch), ("finally", last)] {
                if let Some(list) = list {
                    step[key] = written(list);
                }
            }
            step
        }
        What::Delay(ms) => json!({"delay": length(*ms)}),
        What::DelayUntil(ms) => json!({"delay_until": moment(*ms)}),
        What::Wait(timeout) => json!({"wait": timeout.map(|timeout| json!({"timeout": length(timeout)}))}),
        What::Terminate(status) => json!({"terminate": status}),
    };
    step["id"] = json!(id);
    if let Some(cond) = twig.when {
        step["when"] = text(cond, list);
    }
    if twig.continues {
        step["on_error"] = json!("continue");
    }
    if let Some(after) = &twig.after {
        let after = after.iter().map(|(position, statuses)| (list[*position].id.clone(), json!(statuses)));
        step["run_after"] = after.collect::<Map<_, _>>().into();
    }
    step
}
