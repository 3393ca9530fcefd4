//! Checks lists of steps, and each kind of step but calls.

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
            if let Some(KindFile::If { then, otherwise, .. }) = &step.kind {
                self.step_ids(then, ids);
                self.step_ids(otherwise, ids);
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
            if let Some(text) = &step.when {
                self.condition(text, &child(&step.at, "when"), reach);
            }
            let when = step.when.as_ref().and_then(|text| Condition::parse(text).ok());
            let (kind, output) = match step.kind {
                Some(kind) => self.kind(kind, &step.at, reach),
                None => (None, Shape::any()),
            };
            // A step that may be skipped, or fail and be passed over, leaves null where its output would be.
            let sure = when.is_none() && !step.continues;
            let types = if sure { output.types } else { output.types.or(Types::NULL) };
            if let Some(id) = &step.id {
                reach.steps.insert(id.clone(), names::step(Shape { types, ..output }));
            }
            // What has no kind is a problem, so the flow is not used; something must keep positions right.
            let kind = kind.unwrap_or(Kind::Delay(Template::parse("").expect("text without braces is a template")));
            steps.push(Step { id: step.id.unwrap_or_default(), kind, when, continues: step.continues, after });
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

    /// The kind as checked, and the shape of its output.
    fn kind(&mut self, kind: KindFile, at: &str, reach: &mut InReach<'_>) -> (Option<Kind>, Shape) {
        let null = Shape::of(Types::NULL);
        match kind {
            KindFile::Action(call) => self.call(call, at, reach),
            KindFile::Response { status, headers, body } => {
                let here = child(at, "response");
                let whole = [("status", Types::NUMBER), ("headers", Types::OBJECT), ("body", Types::ANY)];
                let mut parts = Vec::new();
                for ((key, types), value) in whole.into_iter().zip([status, headers, body]) {
                    let at = child(&here, key);
                    let (mapping, shape) = self.mapping(&value, &at, reach);
                    self.fits(&Shape::of(types), &shape, &at);
                    if key == "status" && value.is_number() && !value.as_u64().is_some_and(|s| (200..600).contains(&s))
                    {
                        let what = format!("{value} is not a status that can be answered: 200 to 599");
                        self.say(problem::BAD_VALUE, &at, At::Value, what, None);
                    }
                    parts.extend(mapping);
                }
                let [status, headers, body] = match <[Mapping; 3]>::try_from(parts) {
                    Ok(parts) => parts,
                    Err(_) => return (None, null),
                };
                (Some(Kind::Response(Box::new(Answering { status, headers, body }))), null)
            }
            KindFile::Set(value) => {
                let (mapping, shape) = self.mapping(&value, &child(at, "set"), reach);
                (mapping.map(Kind::Set), shape)
            }
            KindFile::If { condition, then, otherwise } => {
                let parsed = condition.and_then(|text| self.condition(&text, &child(at, "if"), reach));
                let before: BTreeSet<String> = reach.steps.keys().cloned().collect();
                let mut inner = reach.clone();
                let then = self.block(then, &mut inner);
                let mut seen = inner.steps;
                inner = reach.clone();
                let otherwise = self.block(otherwise, &mut inner);
                seen.extend(inner.steps);
                // From below, a step in a branch can be named; it is null where the branch was not taken.
                for (id, mut shape) in seen.into_iter().filter(|(id, _)| !before.contains(id)) {
                    if let Some(output) = shape.properties.get_mut("output") {
                        output.types = output.types.or(Types::NULL);
                    }
                    reach.steps.insert(id, shape);
                }
                (parsed.map(|condition| Kind::If { condition, then, otherwise }), null)
            }
            KindFile::Delay(text) => {
                let at = child(at, "delay");
                let Some((template, shape)) = self.template(&text, &at, reach) else { return (None, null) };
                if template.is_literal()
                    && let Err(what) = duration(&text)
                {
                    self.say(problem::BAD_VALUE, &at, At::Value, what, None);
                }
                self.fits(&Shape::of(Types::STRING), &shape, &at);
                (Some(Kind::Delay(template)), null)
            }
            KindFile::Terminate { status, message } => {
                let here = child(at, "terminate");
                let termination = match status.as_str() {
                    "succeeded" => Some(Termination::Succeeded),
                    "failed" => Some(Termination::Failed),
                    "cancelled" => Some(Termination::Cancelled),
                    other => {
                        let pointer = child(&here, "status");
                        let hint = suggest(other, ["succeeded", "failed", "cancelled"]);
                        let what = format!("`{other}` is not how a run can be ended");
                        self.say(problem::BAD_VALUE, &pointer, At::Value, what, hint);
                        None
                    }
                };
                let (message, _) = self.mapping(&message, &child(&here, "message"), reach);
                let kind = termination.zip(message).map(|(status, message)| Kind::Terminate { status, message });
                (kind, null)
            }
        }
    }
}

/// Shapes of the variables that `set` steps give values; what a template gives is not known yet.
pub(super) fn set_vars(steps: &[StepFile], vars: &mut BTreeMap<String, Shape>) {
    for step in steps {
        match &step.kind {
            Some(KindFile::Set(Value::Object(values))) => {
                for name in values.keys() {
                    vars.insert(name.clone(), Shape::any());
                }
            }
            Some(KindFile::If { then, otherwise, .. }) => {
                set_vars(then, vars);
                set_vars(otherwise, vars);
            }
            None
            | Some(
                KindFile::Set(_)
                | KindFile::Action(_)
                | KindFile::Response { .. }
                | KindFile::Delay(_)
                | KindFile::Terminate { .. },
            ) => {}
        }
    }
}

pub(super) fn address(block: &Block, path: &mut Vec<Hop>, found: &mut HashMap<String, Address>) {
    for (position, step) in block.steps.iter().enumerate() {
        path.push(Hop::Position(position as u32));
        found.insert(step.id.clone(), Address(path.clone()));
        for (sub, inner) in step.blocks() {
            path.push(Hop::Branch(sub));
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
