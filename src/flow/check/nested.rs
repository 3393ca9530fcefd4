//! Checks the kinds of step that hold other steps, and what can be named inside of them and after them.

use super::*;
use crate::flow::file::BlockFile;

/// How the steps of an inner list stand to those outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    No,
    /// They may run at the same time as others that set the same variables.
    AtOnce,
}

impl Checker<'_> {
    pub(super) fn nested(
        &mut self,
        read: BlockFile,
        at: &str,
        id: &str,
        reach: &mut InReach<'_>,
    ) -> (Option<Kind>, Shape) {
        let null = Shape::of(Types::NULL);
        match read {
            BlockFile::If { condition, then, otherwise } => {
                let condition = condition.and_then(|text| self.condition(&text, &child(at, "if"), reach));
                let asked = condition.as_ref().map(Condition::template);
                let (then, first) = self.inner(then, &reach.asking(asked, true), Apart::No, id);
                let (otherwise, second) = self.inner(otherwise, &reach.asking(asked, false), Apart::No, id);
                let under = asked.map(|condition| condition.source().to_owned());
                join(reach, id, asked, vec![(first, under), (second, None)]);
                (condition.map(|condition| Kind::If { condition, then, otherwise }), null)
            }
            BlockFile::Switch { on, cases, default } => {
                let here = child(at, "switch");
                let on = on.and_then(|text| self.asking(&text, &here, reach)).map(|(template, _)| template);
                let around = reach.asking(on.as_ref(), false);
                let mut branches = Vec::new();
                let mut known: Vec<Value> = Vec::new();
                let mut checked = Vec::new();
                for (values, at, steps) in cases {
                    if values.is_empty() {
                        let what = "without a value this case is never taken".to_owned();
                        self.say(problem::BAD_VALUE, &at, At::Value, what, Some("remove it, or list values".into()));
                    }
                    for value in &values {
                        if value.as_str().is_some_and(|text| text.contains("{{")) {
                            let what = "a case is for a fixed value, not for what a template gives".to_owned();
                            let hint = Some("compare with an `if`".to_owned());
                            self.say(problem::BAD_VALUE, &at, At::Value, what, hint);
                        } else if value.is_array() || value.is_object() {
                            let what = "a case is for a text, a number, true, false or null".to_owned();
                            self.say(problem::BAD_VALUE, &at, At::Value, what, None);
                        } else if known.contains(value) {
                            let what = format!("another case is already for {value}");
                            self.say(problem::BAD_VALUE, &at, At::Key, what, None);
                        }
                        known.push(value.clone());
                    }
                    let (block, left) = self.inner(steps, &around, Apart::No, id);
                    checked.push((values, block));
                    branches.push((left, None));
                }
                let (default, left) = self.inner(default, &around, Apart::No, id);
                branches.push((left, None));
                join(reach, id, on.as_ref(), branches);
                (on.map(|on| Kind::Switch(Box::new(Switch { on, cases: checked, default }))), null)
            }
            BlockFile::Foreach { items, concurrency, collect, steps } => {
                let here = child(at, "foreach");
                let items = items.and_then(|text| self.asking(&text, &here, reach));
                let mut item = Shape::any();
                if let Some((_, shape)) = &items {
                    self.fits(&Shape::of(Types::ARRAY.or(Types::NULL)), shape, &here);
                    item = shape.items.as_deref().cloned().unwrap_or_else(Shape::any);
                }
                let mut around = reach.asking(None, false);
                around.loops.push((id.to_owned(), Some(item)));
                let apart = if concurrency > 1 { Apart::AtOnce } else { Apart::No };
                if apart == Apart::No {
                    // An iteration finds what the one before has set.
                    forget(&steps, &mut around.now);
                }
                let mut vars = reach.vars.clone();
                set_vars(&steps, &mut vars);
                let (body, left) = self.inner(steps, &around, apart, id);
                if apart == Apart::No {
                    reach.now = either(&around.now, &left.now);
                }
                let mut output = null;
                let collect = match collect {
                    None => None,
                    Some(value) => {
                        // `collect` sees what the end of an iteration sees.
                        let seen = left.seen(&around);
                        let seen = InReach { vars: &vars, ..seen };
                        let (mapping, shape) = self.mapping(&value, &child(at, "collect"), &seen);
                        output = Shape { items: Some(Box::new(shape)), ..Shape::of(Types::ARRAY) };
                        let Some(mapping) = mapping else { return (None, output) };
                        Some(mapping)
                    }
                };
                let each = items.map(|(items, _)| Foreach { items, concurrency, body, collect });
                (each.map(|each| Kind::Foreach(Box::new(each))), output)
            }
            BlockFile::Until { condition, count, time, fails, steps } => {
                let mut around = reach.asking(None, false);
                around.loops.push((id.to_owned(), None));
                forget(&steps, &mut around.now);
                let (body, left) = self.inner(steps, &around, Apart::No, id);
                let seen = left.seen(&around);
                let condition = condition.and_then(|text| self.condition(&text, &child(at, "until"), &seen));
                left.into_reach(reach);
                let until =
                    condition.map(|condition| Kind::Until(Box::new(Until { condition, count, time, fails, body })));
                (until, names::object([("iterations", Shape::of(Types::NUMBER)), ("met", Shape::of(Types::BOOLEAN))]))
            }
            BlockFile::Parallel(branches) => {
                let around = reach.asking(None, false);
                let mut checked = Vec::new();
                for (name, steps) in branches {
                    let (block, left) = self.inner(steps, &around, Apart::AtOnce, id);
                    checked.push((name, block));
                    reach.steps.extend(left.steps);
                    reach.doubts.extend(left.doubts);
                }
                (Some(Kind::Parallel(checked)), null)
            }
            BlockFile::Scope { steps, catch, finally } => self.scope(steps, catch, finally, id, reach),
        }
    }

    fn scope(
        &mut self,
        steps: Vec<StepFile>,
        catch: Option<Vec<StepFile>>,
        finally: Option<Vec<StepFile>>,
        id: &str,
        reach: &mut InReach<'_>,
    ) -> (Option<Kind>, Shape) {
        let before = reach.asking(None, false);
        let (body, tried) = self.inner(steps, &before, Apart::No, id);
        // What failed, and all that follows it, left nothing behind; the failure itself can be named.
        let mut after = tried.seen(&before);
        after.steps.insert(id.to_owned(), names::step(Shape::of(Types::NULL), true));
        after.now = self.torn(&before.now, &tried.set);
        tried.doubt(&mut after.doubts, |step| {
            Doubt::new(step, format!("`{step}` may be the step of `{id}` that failed, or one that followed it"), None)
                .further(id, None)
        });
        let handled = catch.map(|steps| self.inner(steps, &after, Apart::No, id));
        let mut last = after.clone();
        if let Some((_, left)) = &handled {
            last.steps.extend(left.steps.clone());
            last.now = self.torn(&after.now, &left.set);
            left.doubt(&mut last.doubts, |step| in_catch(step, id));
        }
        let finished = finally.map(|steps| self.inner(steps, &last, Apart::No, id));
        let own = finished.as_ref().map(|(_, left)| left.set.clone()).unwrap_or_default();
        match &handled {
            // After it, either all of the body ended well, or `catch` did.
            Some((_, left)) if !left.ends => {
                let now = either(&tried.now, &left.now);
                tried.doubt(&mut reach.doubts, |step| {
                    let why = format!("`{step}` is inside of `{id}`, which may fail and be caught");
                    Doubt::new(step, why, None).further(id, None)
                });
                reach.now = now;
            }
            Some(_) | None => {
                reach.doubts.extend(tried.doubts.clone());
                reach.now = tried.now.clone();
            }
        }
        reach.steps.extend(tried.steps);
        if let Some((_, left)) = &handled {
            left.doubt(&mut reach.doubts, |step| in_catch(step, id));
            reach.steps.extend(left.steps.clone());
        }
        let catch = handled.map(|(block, _)| block);
        let finally = finished.map(|(block, left)| {
            reach.now.extend(own.iter().filter_map(|name| Some((name.clone(), left.now.get(name)?.clone()))));
            reach.steps.extend(left.steps);
            reach.doubts.extend(left.doubts);
            block
        });
        (Some(Kind::Scope(Box::new(Guarded { body, catch, finally }))), Shape::of(Types::NULL))
    }

    /// Variables after a list of steps that may have stopped anywhere, given those that it sets.
    fn torn(&self, before: &Vars, set: &BTreeSet<String>) -> Vars {
        let mut now = before.clone();
        for name in set {
            let given = self.given.get(name).cloned().unwrap_or_else(Shape::any);
            let shape = match before.get(name) {
                Some(before) => before.clone().either(given),
                None => possibly(given),
            };
            now.insert(name.clone(), shape);
        }
        now
    }

    /// A template for which null is an answer like another.
    fn asking(&mut self, text: &str, at: &str, reach: &InReach<'_>) -> Option<(Template, Shape)> {
        self.look(at, reach);
        let template = Template::parse(text).map_err(|error| self.unparsed(error, at)).ok()?;
        let (shape, findings) = template.check_asking(reach);
        findings.into_iter().for_each(|finding| self.found(finding, at));
        Some((template, shape))
    }

    /// Checks one inner list; `around` is what can be named where it begins.
    fn inner(&mut self, steps: Vec<StepFile>, around: &InReach<'_>, apart: Apart, id: &str) -> (Block, Left) {
        let mut vars = around.vars.clone();
        let mut set = BTreeSet::new();
        set_vars(&steps, &mut set);
        if apart == Apart::AtOnce {
            self.no_leaks(&steps, around.vars, id);
            vars.extend(set.iter().cloned());
        }
        let depth = around.depth + 2;
        let owner = if apart == Apart::AtOnce { depth } else { around.owner };
        // Where steps run at once, they set variables of their own.
        let in_turn = around.in_turn || apart == Apart::AtOnce;
        let mut reach = InReach { vars: &vars, depth, owner, in_turn, ..around.clone() };
        let block = self.block(steps, &mut reach);
        let ends = block.steps.iter().any(|step| matches!(step.kind, Kind::Terminate { .. }) && step.when.is_none());
        let new = |id: &String| !around.steps.contains_key(id);
        reach.steps.retain(|id, _| new(id));
        reach.doubts.retain(|id, _| new(id));
        (block, Left { steps: reach.steps, doubts: reach.doubts, now: reach.now, set, ends })
    }

    /// Variables of the outside cannot be set where several would set them at once.
    fn no_leaks(&mut self, steps: &[StepFile], outer: &BTreeSet<String>, id: &str) {
        for step in steps {
            match &step.kind {
                Some(KindFile::Set(Value::Object(values))) => {
                    for name in values.keys().filter(|name| outer.contains(*name)) {
                        let at = child(&child(&step.at, "set"), name);
                        let what = format!(
                            "`{name}` is a variable of the outside, and steps of `{id}` that run at once would overwrite it"
                        );
                        let hint =
                            "give it another name here, and bring values out with `collect` or as steps' outputs";
                        self.say(problem::LEAK, &at, At::Key, what, Some(hint.to_owned()));
                    }
                }
                Some(KindFile::Block(block)) => {
                    let (lists, apart) = block.lists();
                    if !apart {
                        lists.into_iter().for_each(|steps| self.no_leaks(steps, outer, id));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What one inner list leaves behind where it ended well.
struct Left {
    /// Its steps, and those of them that need not have run.
    steps: BTreeMap<String, Shape>,
    doubts: BTreeMap<String, Doubt>,
    now: Vars,
    /// The variables that it sets.
    set: BTreeSet<String>,
    /// The run ends with it.
    ends: bool,
}

impl Left {
    /// What can be named at its end.
    fn seen<'n>(&self, around: &InReach<'n>) -> InReach<'n> {
        let mut seen = around.knowing(self.now.clone());
        seen.steps.extend(self.steps.clone());
        seen.doubts.extend(self.doubts.clone());
        seen
    }

    /// Adds it to what can be named below, where it has certainly run.
    fn into_reach(self, reach: &mut InReach<'_>) {
        reach.steps.extend(self.steps);
        reach.doubts.extend(self.doubts);
        reach.now = self.now;
    }

    /// Puts all its steps in doubt.
    fn doubt(&self, doubts: &mut BTreeMap<String, Doubt>, why: impl Fn(&str) -> Doubt) {
        doubts.extend(self.steps.keys().map(|id| (id.clone(), why(id))));
    }
}

fn in_catch(step: &str, id: &str) -> Doubt {
    Doubt::new(step, format!("`{step}` runs only if `{id}` fails (`catch`)"), None).further(id, None)
}

/// Adds branches to what can be named below, of which one has run: that of `asked`.
fn join(reach: &mut InReach<'_>, id: &str, asked: Option<&Template>, branches: Vec<(Left, Option<String>)>) {
    let open = branches.iter().filter(|(left, _)| !left.ends).count();
    let mut now: Option<Vars> = None;
    for (left, under) in branches {
        if !left.ends {
            now = Some(now.map_or_else(|| left.now.clone(), |now| either(&now, &left.now)));
        }
        // Where all others end the run, this is the branch that was taken.
        let taken = open == 1 && !left.ends;
        for step in left.steps.keys().filter(|_| !taken) {
            let doubt = match left.doubts.get(step) {
                Some(doubt) => doubt.clone().further(id, under.clone()),
                None => {
                    let why = format!("`{step}` is in a branch of `{id}`");
                    Doubt::new(step, why, under.clone()).further(id, under.clone())
                }
            };
            reach.doubts.insert(step.clone(), doubt);
        }
        if taken {
            reach.doubts.extend(left.doubts);
        }
        reach.lasting.extend(asked.filter(|_| left.ends).cloned());
        reach.steps.extend(left.steps);
    }
    reach.now = now.unwrap_or_else(|| reach.now.clone());
}
