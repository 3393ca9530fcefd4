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

    pub(super) fn block(&mut self, read: Vec<StepFile>, reach: &mut InReach<'_>) -> Block {
        let mut steps: Vec<Step> = Vec::with_capacity(read.len());
        for (position, step) in read.into_iter().enumerate() {
            let after = match &step.run_after {
                Some(after) => self.after(after, &step, &steps),
                None if position == 0 => Vec::new(),
                None => vec![After { position: position as u32 - 1, on: Ends::DEFAULT }],
            };
            let when = step.when.as_ref().and_then(|text| self.condition(text, &child(&step.at, "when"), reach));
            let (kind, output) = match step.kind {
                Some(kind) => self.kind(kind, &step.at, step.id.as_deref().unwrap_or_default(), reach),
                None => (None, Shape::any()),
            };
            // A step that may be skipped, or fail and be passed over, leaves null where its output would be.
            let sure = when.is_none() && !step.continues;
            let types = if sure { output.types } else { output.types.or(Types::NULL) };
            if let Some(id) = &step.id {
                let listed = matches!(&kind, Some(Kind::Scope(_)));
                reach.steps.insert(id.clone(), names::step(Shape { types, ..output }, listed));
            }
            let mock = step.mock.and_then(|mock| self.mock(mock, &child(&step.at, "mock"), reach));
            // What has no kind is a problem, so the flow is not used; something must keep positions right.
            let kind = kind.unwrap_or(Kind::Delay(Template::parse("").expect("text without braces is a template")));
            let (id, continues, secure) = (step.id.unwrap_or_default(), step.continues, step.secure);
            steps.push(Step { id, kind, when, continues, after, secure, mock });
        }
        let mut ends: Vec<u32> = (0..steps.len() as u32).collect();
        ends.retain(|end| !steps.iter().any(|step| step.after.iter().any(|after| after.position == *end)));
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

/// Shapes of the variables that `set` steps of this list give values, but for those in steps that run at once, whose
/// variables are their own; what a template gives is not known yet.
pub(super) fn set_vars(steps: &[StepFile], vars: &mut BTreeMap<String, Shape>) {
    for step in steps {
        match &step.kind {
            Some(KindFile::Set(Value::Object(values))) => {
                vars.extend(values.keys().map(|name| (name.clone(), Shape::any())));
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
