//! Checks lists of steps: ids, order, and what they have in common.

use super::*;

impl Checker<'_> {
    /// Notes every step's id; a second use of one is a problem.
    pub(super) fn step_ids(&mut self, steps: &[StepFile], ids: &mut BTreeSet<String>) {
        for step in steps {
            if let Some(id) = &step.id
                && !ids.insert(id.clone())
            {
                let what = format!("another step is already called `{id}`");
                let hint = Some("ids are unique in the whole flow, so that `steps.<id>` means one step".to_owned());
                self.say(problem::DUPLICATE_ID, &child(&step.at, "id"), At::Value, what, hint);
            }
            if let Some(KindFile::Block(block)) = &step.kind {
                block.lists().0.into_iter().for_each(|steps| self.step_ids(steps, ids));
            }
        }
    }

    /// Checks a list of steps. `reach` then has what they leave behind where the list ended well.
    pub(super) fn block(&mut self, read: Vec<StepFile>, reach: &mut InReach<'_>) -> Block {
        let outside = reach.doubts.clone();
        if reach.in_turn && read.iter().any(|step| step.run_after.is_some()) {
            // Steps may run at once here, so nobody knows what a variable holds.
            reach.in_turn = false;
            forget(&read, &mut reach.now);
        }
        let mut course = Course::default();
        // The same were each `when` to hold.
        let mut reached = Course::default();
        let mut passed: Vec<Passed> = Vec::with_capacity(read.len());
        let mut steps: Vec<Step> = Vec::with_capacity(read.len());
        for (position, step) in read.into_iter().enumerate() {
            let after = match &step.run_after {
                Some(after) => self.after(after, &step, &steps),
                None if position == 0 => Vec::new(),
                None => vec![After { position: position as u32 - 1, on: Ends::DEFAULT }],
            };
            reach.own = step.id.clone().unwrap_or_default();
            let when = step.when.as_ref();
            let certain = when.is_none() && !step.continues;
            course.add(&after, certain);
            reached.add(&after, !step.continues);
            doubts(reach, &outside, &passed, &course.before(&after), &reached.before(&after));
            self.look(&step.at, reach);
            let (before, vars) = (reach.asked.clone(), reach.now.clone());
            let when = when.and_then(|text| self.condition(text, &child(&step.at, "when"), reach));
            if let Some(when) = &when {
                reach.asked.add(when.template(), true);
            }
            let holds_steps = matches!(step.kind, Some(KindFile::Block(_)));
            let outer: Option<BTreeSet<String>> = holds_steps.then(|| reach.steps.keys().cloned().collect());
            let (kind, output) = match step.kind {
                Some(kind) => self.kind(kind, &step.at, step.id.as_deref().unwrap_or_default(), reach),
                None => (None, Shape::any()),
            };
            let mock = step.mock.and_then(|mock| self.mock(mock, &child(&step.at, "mock"), reach));
            let is_new = |id: &&String| outer.as_ref().is_some_and(|outer| !outer.contains(*id));
            let ids: Vec<String> = reach.steps.keys().filter(is_new).cloned().collect();
            let new = reach.doubts.iter().filter(|(id, _)| is_new(id));
            let inner = new.map(|(id, doubt)| (id.clone(), doubt.clone())).collect();
            if !certain {
                reach.now = either(&vars, &reach.now);
                reach.asked = before;
            } else {
                // What an inner list has asked, to end the run or not, holds from here on.
                let lasting = std::mem::take(&mut reach.lasting);
                reach.asked = before;
                lasting.iter().for_each(|condition| reach.asked.add(condition, false));
            }
            reach.lasting.clear();
            if let Some(id) = &step.id {
                let listed = matches!(&kind, Some(Kind::Scope(_)));
                reach.steps.insert(id.clone(), names::step(output, listed));
            }
            let id = step.id.unwrap_or_default();
            let under = when.as_ref().map(|when| when.template().source().to_owned());
            passed.push(Passed { id: id.clone(), ids, inner, under, continues: step.continues });
            // What has no kind is a problem, so the flow is not used; something must keep positions right.
            let kind = kind.unwrap_or(Kind::Delay(Template::parse("").expect("text without braces is a template")));
            steps.push(Step { id, kind, when, continues: step.continues, after, secure: step.secure, mock });
        }
        let mut ends: Vec<u32> = (0..steps.len() as u32).collect();
        ends.retain(|end| !steps.iter().any(|step| step.after.iter().any(|after| after.position == *end)));
        doubts(reach, &outside, &passed, &course.at_end(&ends), &BTreeSet::new());
        Block { steps, ends }
    }

    fn after(&mut self, after: &[(String, Vec<String>)], step: &StepFile, before: &[Step]) -> Vec<After> {
        let mut found = Vec::new();
        for (id, statuses) in after {
            let Some(position) = before.iter().position(|other| other.id == *id) else {
                let at = child(&child(&step.at, "run_after"), id);
                let what = format!("`{id}` is not a step above this one in the same list");
                let before = before.iter().map(|step| step.id.as_str()).filter(|id| !id.is_empty());
                let hint = suggest(id, before.collect::<Vec<_>>());
                self.say(problem::UNKNOWN_STEP, &at, At::Key, what, hint);
                continue;
            };
            let on = statuses.iter().fold(Ends(0), |on, status| match status.as_str() {
                "succeeded" => on.or(Ends::SUCCEEDED),
                "failed" => on.or(Ends::FAILED),
                "skipped" => on.or(Ends::SKIPPED).or(Ends::UNMET),
                "timed_out" => on.or(Ends::TIMED_OUT),
                _ => on,
            });
            found.push(After { position: position as u32, on });
        }
        found
    }
}

/// A step that was checked, for those below it.
struct Passed {
    id: String,
    /// Steps inside that can be named from outside.
    ids: Vec<String>,
    /// Doubts about these even if the step succeeded.
    inner: BTreeMap<String, Doubt>,
    /// The text of its `when`.
    under: Option<String>,
    continues: bool,
}

/// Says in `reach` which of the steps above need not have run, given those that have succeeded, and those that have if
/// their `when` held.
fn doubts(
    reach: &mut InReach<'_>,
    outside: &BTreeMap<String, Doubt>,
    passed: &[Passed],
    sure: &BTreeSet<u32>,
    reached: &BTreeSet<u32>,
) {
    let mut found = outside.clone();
    for (position, step) in passed.iter().enumerate() {
        if sure.contains(&(position as u32)) {
            found.extend(step.inner.iter().map(|(id, doubt)| (id.clone(), doubt.clone())));
            continue;
        }
        let under = step.under.clone().filter(|_| reached.contains(&(position as u32)));
        let why = match (&step.under, step.continues) {
            (Some(_), _) => "runs only if its `when` holds",
            (None, true) => "may fail and be passed over (`on_error: continue`)",
            (None, false) => "need not have succeeded when this step runs (`run_after`)",
        };
        found.insert(step.id.clone(), Doubt::new(&step.id, format!("`{}` {why}", step.id), under.clone()));
        for id in &step.ids {
            let doubt = match step.inner.get(id) {
                Some(doubt) => doubt.clone().further(&step.id, under.clone()),
                None => {
                    let why = format!("`{id}` is inside of `{}`, which {why}", step.id);
                    Doubt::new(id, why, under.clone()).further(&step.id, under.clone())
                }
            };
            found.insert(id.clone(), doubt);
        }
    }
    reach.doubts = found;
}

/// The variables that `set` steps of this list give values, but for those in steps that run at once, whose variables
/// are their own.
pub(super) fn set_vars(steps: &[StepFile], vars: &mut BTreeSet<String>) {
    for step in steps {
        match &step.kind {
            Some(KindFile::Set(Value::Object(values))) => {
                vars.extend(values.keys().cloned());
            }
            Some(KindFile::Block(block)) => {
                let (lists, at_once) = block.lists();
                if !at_once {
                    lists.into_iter().for_each(|steps| set_vars(steps, vars));
                }
            }
            None
            | Some(
                KindFile::Set(_)
                | KindFile::Action(_)
                | KindFile::Call(_)
                | KindFile::Response { .. }
                | KindFile::Delay(_)
                | KindFile::DelayUntil(_)
                | KindFile::Wait { .. }
                | KindFile::Terminate { .. },
            ) => {}
        }
    }
}

/// Of the variables that these steps set nothing is known any more.
pub(super) fn forget(steps: &[StepFile], now: &mut Vars) {
    let mut names = BTreeSet::new();
    set_vars(steps, &mut names);
    now.extend(names.into_iter().map(|name| (name, Shape::any())));
}

/// Where things stand that can be named from some places only.
#[derive(Debug, Default)]
pub struct Inside {
    /// Steps of a `foreach`, and the innermost one that each is in.
    pub foreach: BTreeMap<String, String>,
    /// Steps that wait, and the loops around each, outermost first.
    pub waits: BTreeMap<String, Vec<String>>,
    /// Variables of steps that run at once, and the step they run in.
    pub vars: BTreeMap<String, String>,
}

impl Inside {
    pub fn look(&mut self, steps: &[StepFile], loops: &mut Vec<String>, foreach: Option<&str>, at_once: Option<&str>) {
        for step in steps {
            let id = step.id.clone().unwrap_or_default();
            if let Some(foreach) = foreach {
                self.foreach.insert(id.clone(), foreach.to_owned());
            }
            match &step.kind {
                Some(KindFile::Wait { .. }) => {
                    self.waits.insert(id, loops.clone());
                }
                Some(KindFile::Set(Value::Object(values))) => {
                    let owner = at_once.map(|owner| values.keys().map(|name| (name.clone(), owner.to_owned())));
                    self.vars.extend(owner.into_iter().flatten());
                }
                Some(KindFile::Block(block)) => {
                    let (lists, apart) = block.lists();
                    let each = matches!(**block, file::BlockFile::Foreach { .. });
                    let is_loop = each || matches!(**block, file::BlockFile::Until { .. });
                    if is_loop {
                        loops.push(id.clone());
                    }
                    let foreach = if each { Some(id.as_str()) } else { foreach };
                    let at_once = if apart { Some(id.as_str()) } else { at_once };
                    lists.into_iter().for_each(|steps| self.look(steps, loops, foreach, at_once));
                    if is_loop {
                        loops.pop();
                    }
                }
                _ => {}
            }
        }
    }
}

pub(super) fn address(block: &Block, path: &mut Vec<Hop>, found: &mut HashMap<String, Address>) {
    for (position, step) in block.steps.iter().enumerate() {
        path.push(Hop::Position(position as u32));
        found.insert(step.id.clone(), Address(path.clone()));
        for (hop, inner) in step.blocks() {
            path.push(hop);
            address(inner, path, found);
            path.pop();
        }
        path.pop();
    }
}

pub(super) fn answers(block: &Block) -> bool {
    block.steps.iter().any(|step| {
        matches!(step.kind, Kind::Response(_)) || step.blocks().into_iter().any(|(_, inner)| answers(inner))
    })
}
