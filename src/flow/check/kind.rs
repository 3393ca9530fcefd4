//! Checks what each kind of step has of its own. Calls are in `call.rs`, steps with steps inside in `nested.rs`.

use super::*;

impl Checker<'_> {
    /// The kind as checked, and the shape of its output.
    pub(super) fn kind(
        &mut self,
        kind: KindFile,
        at: &str,
        id: &str,
        reach: &mut InReach<'_>,
    ) -> (Option<Kind>, Shape) {
        let null = Shape::of(Types::NULL);
        match kind {
            KindFile::Action(call) => self.call(call, at, reach),
            KindFile::Call(call) => self.child(call, at, reach),
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
                let owner = reach.owner;
                let names: Vec<String> =
                    value.as_object().into_iter().flat_map(|values| values.keys().cloned()).collect();
                names.iter().for_each(|name| self.assign(name, &shape, reach));
                (mapping.map(|values| Kind::Set(Assignment { names, values, owner })), shape)
            }
            KindFile::Block(block) => self.nested(*block, at, id, reach),
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
            KindFile::DelayUntil(text) => {
                let at = child(at, "delay_until");
                let Some((template, shape)) = self.template(&text, &at, reach) else { return (None, null) };
                if template.is_literal() && text.trim().parse::<jiff::Timestamp>().is_err() {
                    let what = format!("`{text}` is not a time");
                    let hint = Some("write it with its offset, as in `2026-12-24T18:00:00+01:00`".to_owned());
                    self.say(problem::BAD_VALUE, &at, At::Value, what, hint);
                }
                self.fits(&Shape::of(Types::STRING), &shape, &at);
                (Some(Kind::DelayUntil(template)), null)
            }
            KindFile::Wait { timeout } => (Some(Kind::Wait { timeout }), names::resumed()),
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

    /// Notes what a variable has from here on.
    fn assign(&mut self, name: &str, values: &Shape, reach: &mut InReach<'_>) {
        let mut shape = values.properties.get(name).cloned().unwrap_or_else(Shape::any);
        if !values.required.iter().any(|certain| certain == name) {
            // `{{optional x}}` that finds nothing leaves it as it was.
            shape = match reach.now.get(name) {
                Some(before) => before.clone().either(shape),
                None => possibly(shape),
            };
        }
        let given = self.given.remove(name);
        let all = given.map_or_else(|| shape.clone(), |given| given.either(shape.clone()));
        self.given.insert(name.to_owned(), all);
        if reach.in_turn {
            reach.now.insert(name.to_owned(), shape);
        }
    }

    pub(super) fn mock(&mut self, mock: MockFile, at: &str, reach: &InReach<'_>) -> Option<Mock> {
        match mock {
            MockFile::Output(value) => self.mapping(&value, &child(at, "output"), reach).0.map(Mock::Output),
            MockFile::Error(value) => {
                let at = child(at, "error");
                let (mapping, shape) = self.mapping(&value, &at, reach);
                self.fits(&names::error(), &shape, &at);
                mapping.map(Mock::Error)
            }
        }
    }
}
