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
                let mut inner = Inner::new(reach);
                let then = self.inner(then, &mut inner, Apart::No, id);
                let otherwise = self.inner(otherwise, &mut inner, Apart::No, id);
                inner.into_reach(reach, true);
                (condition.map(|condition| Kind::If { condition, then, otherwise }), null)
            }
            BlockFile::Switch { on, cases, default } => {
                let here = child(at, "switch");
                let on = on.and_then(|text| self.template(&text, &here, reach)).map(|(template, _)| template);
                let mut inner = Inner::new(reach);
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
                    checked.push((values, self.inner(steps, &mut inner, Apart::No, id)));
                }
                let default = self.inner(default, &mut inner, Apart::No, id);
                inner.into_reach(reach, true);
                (on.map(|on| Kind::Switch(Box::new(Switch { on, cases: checked, default }))), null)
            }
            BlockFile::Foreach { items, concurrency, collect, steps } => {
                let here = child(at, "foreach");
                let items = items.and_then(|text| self.template(&text, &here, reach));
                let mut item = Shape::any();
                if let Some((_, shape)) = &items {
                    self.fits(&Shape::of(Types::ARRAY.or(Types::NULL)), shape, &here);
                    item = shape.items.as_deref().cloned().unwrap_or_else(Shape::any);
                }
                let mut inner = Inner::new(reach);
                inner.around.loops.push((id.to_owned(), Some(item)));
                let apart = if concurrency > 1 { Apart::AtOnce } else { Apart::No };
                let mut vars = reach.vars.clone();
                set_vars(&steps, &mut vars);
                let body = self.inner(steps, &mut inner, apart, id);
                let mut output = null;
                let collect = match collect {
                    None => None,
                    Some(value) => {
                        let (mapping, shape) = self.collect(&value, &child(at, "collect"), &inner, &vars);
                        output = Shape { items: Some(Box::new(shape)), ..Shape::of(Types::ARRAY) };
                        let Some(mapping) = mapping else { return (None, output) };
                        Some(mapping)
                    }
                };
                let each = items.map(|(items, _)| Foreach { items, concurrency, body, collect });
                (each.map(|each| Kind::Foreach(Box::new(each))), output)
            }
            BlockFile::Until { condition, count, time, fails, steps } => {
                let mut inner = Inner::new(reach);
                inner.around.loops.push((id.to_owned(), None));
                let body = self.inner(steps, &mut inner, Apart::No, id);
                let seen = inner.after(false);
                let condition = condition.and_then(|text| self.condition(&text, &child(at, "until"), &seen));
                inner.into_reach(reach, false);
                let until =
                    condition.map(|condition| Kind::Until(Box::new(Until { condition, count, time, fails, body })));
                (until, names::object([("iterations", Shape::of(Types::NUMBER)), ("met", Shape::of(Types::BOOLEAN))]))
            }
            BlockFile::Parallel(branches) => {
                let mut inner = Inner::new(reach);
                let mut checked = Vec::new();
                for (name, steps) in branches {
                    checked.push((name, self.inner(steps, &mut inner, Apart::AtOnce, id)));
                }
                inner.into_reach(reach, false);
                (Some(Kind::Parallel(checked)), null)
            }
            BlockFile::Scope { steps, catch, finally } => {
                let mut inner = Inner::new(reach);
                let body = self.inner(steps, &mut inner, Apart::No, id);
                let caught = catch.is_some();
                // What failed, and all that follows it, left nothing behind; the failure itself can be named.
                let mut after = inner.after(true);
                after.steps.insert(id.to_owned(), names::step(Shape::of(Types::NULL), true));
                let mut handlers = Inner::new(&after);
                let catch = catch.map(|steps| self.inner(steps, &mut handlers, Apart::No, id));
                let mut after = handlers.after(true);
                after.steps.insert(id.to_owned(), names::step(Shape::of(Types::NULL), true));
                let mut last = Inner::new(&after);
                let finally = finally.map(|steps| self.inner(steps, &mut last, Apart::No, id));
                inner.into_reach(reach, caught);
                handlers.into_reach(reach, true);
                last.into_reach(reach, false);
                (Some(Kind::Scope(Box::new(Guarded { body, catch, finally }))), null)
            }
        }
    }

    /// Checks `collect`, which sees what the end of an iteration sees.
    fn collect(
        &mut self,
        value: &Value,
        at: &str,
        inner: &Inner<'_>,
        vars: &BTreeMap<String, Shape>,
    ) -> (Option<Mapping>, Shape) {
        let seen = InReach { vars, ..inner.after(false) };
        self.mapping(value, at, &seen)
    }

    /// Checks one inner list.
    fn inner(&mut self, steps: Vec<StepFile>, inner: &mut Inner<'_>, apart: Apart, id: &str) -> Block {
        let mut vars = inner.around.vars.clone();
        if apart == Apart::AtOnce {
            let mut own = BTreeMap::new();
            set_vars(&steps, &mut own);
            self.no_leaks(&steps, inner.around.vars, id);
            vars.extend(own);
        }
        let depth = inner.around.depth + 2;
        let owner = if apart == Apart::AtOnce { depth } else { inner.around.owner };
        let outside: BTreeSet<String> = inner.around.steps.keys().cloned().collect();
        let mut reach = InReach { vars: &vars, depth, owner, ..inner.around.clone() };
        let block = self.block(steps, &mut reach);
        let new = reach.steps.into_iter().filter(|(id, _)| !outside.contains(id));
        inner.seen.extend(new);
        block
    }

    /// Variables of the outside cannot be set where several would set them at once.
    fn no_leaks(&mut self, steps: &[StepFile], outer: &BTreeMap<String, Shape>, id: &str) {
        for step in steps {
            match &step.kind {
                Some(KindFile::Set(Value::Object(values))) => {
                    for name in values.keys().filter(|name| outer.contains_key(*name)) {
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

/// What inner lists can name, and what they add to it.
struct Inner<'n> {
    around: InReach<'n>,
    /// Steps of the inner lists.
    seen: BTreeMap<String, Shape>,
}

impl<'n> Inner<'n> {
    fn new(reach: &InReach<'n>) -> Inner<'n> {
        Inner { around: reach.clone(), seen: BTreeMap::new() }
    }

    /// What can be named after the inner lists; `doubtful`: their steps need not have run.
    fn after(&self, doubtful: bool) -> InReach<'n> {
        let mut after = self.around.clone();
        after.steps.extend(self.seen.iter().map(|(id, shape)| (id.clone(), possibly(shape.clone(), doubtful))));
        after
    }

    /// Adds the inner steps to what can be named below: null where they did not run.
    fn into_reach(self, reach: &mut InReach<'_>, doubtful: bool) {
        reach.steps.extend(self.seen.into_iter().map(|(id, shape)| (id, possibly(shape, doubtful))));
    }
}

fn possibly(mut shape: Shape, doubtful: bool) -> Shape {
    if let Some(output) = shape.properties.get_mut("output").filter(|_| doubtful) {
        output.types = output.types.or(Types::NULL);
    }
    shape
}
