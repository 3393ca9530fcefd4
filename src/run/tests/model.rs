//! What a run must come to, by plain recursion over the tree with a clock that only adds: written from the rules,
//! not from the code that is tested.
//!
//! - A step begins once all it follows have ended; it runs if each ended as asked.
//! - A list ends as its ends do; one that was skipped as what it follows; `on_error: continue` passes over a failure.
//! - What ends a whole run (a `terminate`, the flow's timeout) is found afterwards, as a time.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::NEVER;
use super::tree::{Collect, Cond, List, Tree, Twig, UNIT, What};
use crate::connector::{Class, Failure};
use crate::flow::{Backoff, HANDLER, Retry};

pub type Path = Vec<u32>;

/// What the outside does, decided by place and attempt alone.
#[derive(Debug, Clone, Copy)]
pub struct Outside {
    pub seed: u64,
    /// Percent of attempts that fail.
    pub evil: u64,
}

impl Outside {
    fn roll(self, what: &str, place: &[u32], attempt: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what, place, attempt).hash(&mut hasher);
        hasher.finish()
    }

    /// How long an attempt takes.
    pub fn takes(self, place: &[u32], attempt: u32) -> i64 {
        let roll = self.roll("takes", place, attempt);
        [0, 1, 2, 9][(roll % 4) as usize] * UNIT + 1 + (roll / 4 % (UNIT as u64 / 2)) as i64
    }

    pub fn answer(self, place: &[u32], attempt: u32) -> Result<Value, Failure> {
        if self.roll("fails", place, attempt) % 100 >= self.evil {
            return Ok(json!({"place": place, "attempt": attempt}));
        }
        let roll = self.roll("how", place, attempt);
        let (class, code) = [
            (Class::Permanent, "x.refused"),
            (Class::Retry, "x.busy"),
            (Class::Throttled, "x.busy"),
            (Class::Unknown, "outbound.timeout"),
        ][(roll % 4) as usize];
        let wait_ms = roll.is_multiple_of(3).then_some(roll % 5 * 1000);
        Err(Failure { class, code: code.into(), message: format!("it said {code}"), status: None, wait_ms })
    }

    /// When a wait's POST comes: after the run's start, or in a loop after the wait's; `None`: it never does.
    pub fn posted(self, place: &[u32]) -> Option<i64> {
        let roll = self.roll("posted", place, 0);
        (!roll.is_multiple_of(4)).then_some((roll % 25) as i64 * UNIT + 1 + (roll / 25 % (UNIT as u64 / 2)) as i64)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Succeeded,
    Failed,
    TimedOut,
    Skipped,
    Unmet,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            End::Succeeded => "succeeded",
            End::Failed => "failed",
            End::TimedOut => "timed_out",
            End::Skipped | End::Unmet => "skipped",
        }
    }
}

/// How a list failed: whether it counts as timed out.
type Fault = Option<End>;

/// A step that began.
#[derive(Debug, Clone)]
pub struct Step {
    pub id: String,
    pub begins: i64,
    /// [`NEVER`] without an end.
    pub ends: i64,
    pub how: End,
    pub output: Option<Value>,
}

/// All that a list of steps comes to if nothing ends the run before. Times are ms after the run's start.
pub struct Model {
    outside: Outside,
    pub steps: BTreeMap<Path, Step>,
    /// Attempts: place, number, and when.
    pub calls: Vec<(Path, u32, i64)>,
    /// When a `terminate` was reached, and how it ends the run.
    pub terminated: Vec<(i64, &'static str)>,
    /// Variables set: when, by whom (empty: the run), and what.
    pub set: Vec<(i64, Path, String, i64)>,
    counts: HashMap<(Path, String), i64>,
}

#[derive(Clone, Copy)]
struct Around {
    index: Option<u32>,
    /// Leading numbers of a place here that name the owner of variables.
    owner: usize,
}

/// A list's end, and its fault.
pub type Played = (i64, Fault);

impl Model {
    pub fn of(tree: &Tree, outside: Outside) -> (Model, Played) {
        Model::play(&tree.steps, outside, Vec::new(), 0)
    }

    pub fn of_handler(steps: &List, outside: Outside, start: i64) -> (Model, Played) {
        Model::play(steps, outside, vec![HANDLER, 0], start)
    }

    fn play(steps: &List, outside: Outside, mut path: Path, start: i64) -> (Model, Played) {
        let (steps_, calls, terminated, set, counts) = Default::default();
        let mut model = Model { outside, steps: steps_, calls, terminated, set, counts };
        let played = model.list(steps, &mut path, start, Around { index: None, owner: 0 });
        (model, played)
    }

    fn list(&mut self, list: &List, path: &mut Path, start: i64, around: Around) -> Played {
        let mut ended: Vec<(i64, End)> = Vec::new();
        let mut followed = vec![false; list.len()];
        for (position, twig) in list.iter().enumerate() {
            let follows = follows(twig, position);
            let mut begins = start;
            for (before, _) in &follows {
                followed[*before] = true;
                begins = begins.max(ended[*before].0);
            }
            if begins == NEVER {
                ended.push((NEVER, End::Unmet));
                continue;
            }
            let met = |(before, asked): &(usize, Option<Vec<&str>>)| {
                let how = ended[*before].1;
                match asked {
                    Some(asked) => asked.contains(&how.name()),
                    None => match how {
                        End::Succeeded | End::Skipped => true,
                        End::Failed | End::TimedOut => list[*before].continues,
                        End::Unmet => false,
                    },
                }
            };
            path.push(position as u32);
            let step = if follows.iter().all(met) {
                let holds = twig.when.map_or(Some(true), |cond| holds(cond, around, &ended));
                match holds {
                    None => (begins, End::Failed, None),
                    Some(false) => (begins, End::Skipped, None),
                    Some(true) => self.step(twig, path, begins, around, &ended),
                }
            } else {
                (begins, End::Unmet, None)
            };
            let (ends, how, output) = step;
            self.steps.insert(path.clone(), Step { id: twig.id.clone(), begins, ends, how, output });
            path.pop();
            ended.push((ends, how));
        }
        let end = ended.iter().map(|(end, _)| *end).fold(start, i64::max);
        let told = |position| told(list, &ended, position);
        (end, (0..list.len()).filter(|position| !followed[*position]).find_map(told))
    }

    fn inner(&mut self, list: &List, path: &mut Path, sub: u32, start: i64, around: Around) -> Played {
        path.push(sub);
        let played = self.list(list, path, start, around);
        path.pop();
        played
    }

    /// When the step ends, how, and with what.
    fn step(
        &mut self,
        twig: &Twig,
        path: &mut Path,
        begins: i64,
        around: Around,
        ended: &[(i64, End)],
    ) -> (i64, End, Option<Value>) {
        let null = Some(Value::Null);
        let as_list =
            |(end, fault): Played| (end, fault.unwrap_or(End::Succeeded), fault.is_none().then_some(Value::Null));
        let own = path.len() + 1;
        match &twig.what {
            What::Count => {
                let owner = path[..around.owner].to_vec();
                let count = self.counts.entry((owner.clone(), twig.id.clone())).or_default();
                *count += 1;
                self.set.push((begins, owner, format!("v_{}", twig.id), *count));
                let output = json!({format!("v_{}", twig.id): count});
                (begins, End::Succeeded, Some(output))
            }
            What::Act { attempts } => self.call(path, begins, *attempts, None),
            What::Child { attempts, timeout } => self.call(path, begins, *attempts, *timeout),
            What::Mocked(None) => (begins, End::Succeeded, Some(json!({"mocked": twig.id}))),
            What::Mocked(Some("outbound.timeout")) => (begins, End::TimedOut, None),
            What::Mocked(Some(_)) => (begins, End::Failed, None),
            What::Respond => (begins, End::Succeeded, None),
            What::If(cond, then, otherwise) => match holds(*cond, around, ended) {
                None => (begins, End::Failed, None),
                Some(true) => as_list(self.inner(then, path, 0, begins, around)),
                Some(false) => as_list(self.inner(otherwise, path, 1, begins, around)),
            },
            What::Switch(taken, lists) => {
                let value = taken.map_or_else(|| around.index.unwrap_or(0), |taken| taken as u32);
                let sub = value.min(lists.len() as u32 - 1);
                as_list(self.inner(&lists[sub as usize], path, sub, begins, around))
            }
            What::Each { items: None, .. } => (begins, End::Failed, None),
            What::Each { items: Some(items), at_once, collect, body } => {
                let owner = if *at_once > 1 { own } else { around.owner };
                let mut slots = vec![begins; *at_once as usize];
                let (mut collected, mut fault, mut end) = (Vec::new(), None, begins);
                for index in 0..*items {
                    slots.sort_unstable();
                    if slots[0] == NEVER {
                        break;
                    }
                    let inside = Around { index: Some(index), owner };
                    let (over, failed) = self.inner(body, path, index, slots[0], inside);
                    slots[0] = over;
                    end = end.max(over);
                    fault = fault.or(failed);
                    collected.push(match collect {
                        _ if failed.is_some() => Value::Null,
                        Collect::Nothing => Value::Null,
                        Collect::Index => json!(format!("{index}:{}", index * 10)),
                        Collect::Counted(id) => {
                            let path: Path = path.iter().copied().chain([index]).collect();
                            json!(self.counts.get(&(path[..owner].to_vec(), id.clone())))
                        }
                    });
                }
                let output = match collect {
                    Collect::Nothing => Value::Null,
                    Collect::Index | Collect::Counted(_) => Value::Array(collected),
                };
                (end, fault.unwrap_or(End::Succeeded), fault.is_none().then_some(output))
            }
            What::Until { holds: cond, count, time, fails, body } => {
                let mut now = begins;
                for index in 0.. {
                    let inside = Around { index: Some(index), ..around };
                    let (end, fault) = self.inner(body, path, index, now, inside);
                    if end == NEVER || fault.is_some() {
                        return (end, fault.unwrap_or(End::Succeeded), None);
                    }
                    now = end;
                    let output = |met: bool| Some(json!({"iterations": index + 1, "met": met}));
                    match holds(*cond, inside, &[]) {
                        None => return (now, End::Failed, None),
                        Some(true) => return (now, End::Succeeded, output(true)),
                        Some(false) if index + 1 < *count && now - begins < *time => {}
                        Some(false) if *fails => return (now, End::Failed, None),
                        Some(false) => return (now, End::Succeeded, output(false)),
                    }
                }
                unreachable!("the count ends it")
            }
            What::Parallel(branches) => {
                let (mut end, mut fault) = (begins, None);
                for (sub, list) in branches.iter().enumerate() {
                    let inside = Around { owner: own, ..around };
                    let (over, failed) = self.inner(list, path, sub as u32, begins, inside);
                    (end, fault) = (end.max(over), fault.or(failed));
                }
                as_list((end, fault))
            }
            What::Scope(body, catch, last) => {
                let (mut end, mut fault) = self.inner(body, path, 0, begins, around);
                if let (Some(catch), true, true) = (catch, fault.is_some(), end < NEVER) {
                    (end, fault) = self.inner(catch, path, 1, end, around);
                }
                if let (Some(last), true) = (last, end < NEVER) {
                    let (over, failed) = self.inner(last, path, 2, end, around);
                    (end, fault) = (over, fault.or(failed));
                }
                as_list((end, fault))
            }
            What::Delay(ms) => (begins + ms, End::Succeeded, null),
            What::DelayUntil(ms) => (begins.max(*ms), End::Succeeded, null),
            What::Wait(timeout) => {
                let since = if around.index.is_some() { begins } else { 0 };
                let posted = self.outside.posted(path).map_or(NEVER, |after| since + after);
                let deadline = timeout.map_or(NEVER, |timeout| begins + timeout);
                match posted.max(begins) {
                    posted if posted <= deadline => (posted, End::Succeeded, Some(json!({"for": path}))),
                    _ => (deadline, End::TimedOut, None),
                }
            }
            What::Terminate(how) => {
                self.terminated.push((begins, how));
                (NEVER, End::Succeeded, None)
            }
        }
    }

    fn call(&mut self, path: &Path, begins: i64, attempts: u32, timeout: Option<i64>) -> (i64, End, Option<Value>) {
        let retry = Retry { attempts, backoff: Backoff::Fixed, delay: Duration::from_secs(3), ..Retry::default() };
        let mut now = begins;
        for attempt in 1.. {
            self.calls.push((path.clone(), attempt, now));
            let takes = self.outside.takes(path, attempt);
            let answer = match timeout.filter(|timeout| *timeout < takes) {
                Some(timeout) => {
                    now += timeout;
                    Err(Failure::new(Class::Retry, "run.timeout", String::new()))
                }
                None => {
                    now += takes;
                    self.outside.answer(path, attempt)
                }
            };
            let failure = match answer {
                Ok(output) => return (now, End::Succeeded, Some(output)),
                Err(failure) => failure,
            };
            match retry.wait(attempt, &failure, u64::MAX / 2) {
                Some(wait) => now += wait.as_millis() as i64,
                None if failure.code.ends_with(".timeout") => return (now, End::TimedOut, None),
                None => return (now, End::Failed, None),
            }
        }
        unreachable!("attempts come to an end")
    }
}

/// What a step follows, and how that must have ended if it says so.
pub fn follows(twig: &Twig, position: usize) -> Vec<(usize, Option<Vec<&'static str>>)> {
    match &twig.after {
        Some(after) => after.iter().map(|(before, asked)| (*before, Some(asked.clone()))).collect(),
        None => position.checked_sub(1).map(|before| (before, None)).into_iter().collect(),
    }
}

/// What an end of a list, or what a skipped one follows, tells of the list.
fn told(list: &List, ended: &[(i64, End)], position: usize) -> Fault {
    match ended[position].1 {
        End::Succeeded => None,
        End::Failed | End::TimedOut if list[position].continues => None,
        how @ (End::Failed | End::TimedOut) => Some(how),
        End::Skipped | End::Unmet => {
            follows(&list[position], position).into_iter().find_map(|(before, _)| told(list, ended, before))
        }
    }
}

/// Whether a condition holds; `None` if it fails.
fn holds(cond: Cond, around: Around, ended: &[(i64, End)]) -> Option<bool> {
    match cond {
        Cond::Is(value) => Some(value == Some(true)),
        Cond::Bad => None,
        Cond::From(index) => Some(around.index.unwrap_or(0) >= index),
        Cond::Ended(position, how) => Some(ended[position].1.name() == how),
    }
}
