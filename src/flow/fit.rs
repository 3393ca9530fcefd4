//! Whether what a mapping will give can fit what an action takes.

use super::problem::{self, Code, nearest, suggest};
use super::source::{At, child};
use crate::schema::{Shape, Types};

/// One misfit: code, JSON Pointer within the mapping, where to point, what, and what to do.
pub type Misfit = (Code, String, At, String, Option<String>);

/// Compares `got` with `want`; only what can never fit is a misfit.
pub fn misfits(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    if !got.types.meets(want.types) {
        let what = format!("this is {}; {} is wanted", words(got.types), words(want.types));
        found.push((problem::CANNOT_FIT, at.to_owned(), At::Value, what, None));
        return;
    }
    if !want.values.is_empty() && !got.values.is_empty() && !got.values.iter().any(|v| want.values.contains(v)) {
        let values: Vec<String> = want.values.iter().map(ToString::to_string).collect();
        let what = format!("{} is not one of the possible values", got.values[0]);
        let hint = Some(format!("possible: {}", values.join(", ")));
        found.push((problem::CANNOT_FIT, at.to_owned(), At::Value, what, hint));
    }
    if got.types != Types::OBJECT || !want.types.meets(Types::OBJECT) {
        return;
    }
    let mut meant = Vec::new();
    for (key, got) in &got.properties {
        match want.properties.get(key) {
            Some(want) => misfits(want, got, &child(at, key), found),
            None if want.closed => {
                meant.extend(nearest(key, want.properties.keys().map(String::as_str)));
                let hint = suggest(key, want.properties.keys().map(String::as_str));
                let what = format!("there is no input `{key}`");
                found.push((problem::UNKNOWN_KEY, child(at, key), At::Key, what, hint));
            }
            None => {}
        }
    }
    if got.closed {
        // A key that was misspelt is not also missing.
        let absent = |key: &&String| !got.properties.contains_key(*key) && !meant.contains(&key.as_str());
        for key in want.required.iter().filter(absent) {
            let kind = want.properties.get(key).map_or(Types::ANY, |shape| shape.types);
            let what = format!("the input `{key}` ({}) is missing", words(kind));
            let hint = Some(format!("add `{key}: …`"));
            found.push((problem::MISSING_INPUT, at.to_owned(), At::Value, what, hint));
        }
    }
}

/// A set of types, as a person says it.
pub fn words(types: Types) -> String {
    if types == Types::ANY {
        return "anything".to_owned();
    }
    let names = [
        (Types::STRING, "text"),
        (Types::NUMBER, "a number"),
        (Types::BOOLEAN, "true or false"),
        (Types::OBJECT, "an object"),
        (Types::ARRAY, "a list"),
        (Types::NULL, "null"),
    ];
    let present: Vec<&str> = names.iter().filter(|(one, _)| types.meets(*one)).map(|(_, name)| *name).collect();
    match present.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(schema: &Value, got: &Shape) -> Vec<String> {
        let mut found = Vec::new();
        misfits(&Shape::of_schema(schema), got, "", &mut found);
        found.into_iter().map(|(code, pointer, _, what, _)| format!("{pointer} {} {what}", code.0)).collect()
    }

    fn given(types: &[(&str, Types)], closed: bool) -> Shape {
        let properties = types.iter().map(|(key, types)| ((*key).to_owned(), Shape::of(*types))).collect();
        Shape { properties, closed, ..Shape::of(Types::OBJECT) }
    }

    fn lead() -> Value {
        json!({
            "type": "object", "required": ["email"], "additionalProperties": false,
            "properties": {"email": {"type": "string"}, "seats": {"type": "integer"}, "code": {"enum": ["INS", "DNC"]}}
        })
    }

    #[test]
    fn what_may_fit_is_no_misfit() {
        let null_or_text = Types::STRING.or(Types::NULL);
        assert!(found(&lead(), &given(&[("email", null_or_text), ("seats", Types::ANY)], true)).is_empty());
        assert!(found(&lead(), &Shape::any()).is_empty());
        assert!(found(&lead(), &given(&[], false)).is_empty(), "an open object may still have the key");
    }

    #[test]
    fn what_can_never_fit_is_one_at_its_own_place() {
        let wrong = given(&[("email", Types::NUMBER), ("seats", Types::STRING.or(Types::BOOLEAN))], true);
        let expected = [
            "/email E-FLOW-016 this is a number; text is wanted",
            "/seats E-FLOW-016 this is text or true or false; a number is wanted",
        ];
        assert_eq!(found(&lead(), &wrong), expected);
    }

    #[test]
    fn a_value_that_is_none_of_the_possible_ones_is_a_misfit() {
        let mut code = Shape::of(Types::STRING);
        code.values = vec![json!("INX")];
        let mut wrong = given(&[("email", Types::STRING)], true);
        wrong.properties.insert("code".to_owned(), code);
        assert_eq!(found(&lead(), &wrong), ["/code E-FLOW-016 \"INX\" is not one of the possible values"]);
    }

    #[test]
    fn a_misspelt_key_is_unknown_but_not_also_missing() {
        let wrong = given(&[("emial", Types::STRING)], true);
        assert_eq!(found(&lead(), &wrong), ["/emial E-FLOW-003 there is no input `emial`"]);
        let wrong = given(&[("phone", Types::STRING)], true);
        let expected =
            ["/phone E-FLOW-003 there is no input `phone`", " E-FLOW-015 the input `email` (text) is missing"];
        assert_eq!(found(&lead(), &wrong), expected);
    }
}
