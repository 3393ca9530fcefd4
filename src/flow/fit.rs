//! Whether what a mapping will give fits what an action takes: what never fits, what need not, and null.

use serde_json::Value;

use super::problem::{self, Code, nearest, suggest};
use super::source::{At, child};
use crate::mapping::fallback;
use crate::schema::{Shape, Types};

/// What can be converted.
const SCALAR: Types = Types::STRING.or(Types::NUMBER).or(Types::BOOLEAN);

/// One misfit.
pub struct Misfit {
    pub code: Code,
    /// JSON Pointer within the mapping.
    pub pointer: String,
    pub at: At,
    pub what: String,
    pub remedy: Remedy,
}

/// What to do about a misfit.
#[derive(Debug, PartialEq)]
pub enum Remedy {
    None,
    Hint(String),
    /// These types are wanted.
    Convert(Types),
    /// Null where these types are wanted: `needed`, or else the key may be left out.
    Null {
        wanted: Types,
        needed: bool,
    },
}

/// Where something is wanted.
struct Target<'t> {
    at: &'t str,
    /// False for a key that may be left out.
    needed: bool,
}

/// Compares `got` with `want`.
///
/// Of what nothing is known nothing is said; ranges, formats and lengths are for the run to judge.
pub fn misfits(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    compare(want, got, &Target { at, needed: true }, found);
}

fn compare(want: &Shape, got: &Shape, target: &Target<'_>, found: &mut Vec<Misfit>) {
    let at = target.at;
    let mut say = |code, what, remedy| found.push(Misfit { code, pointer: at.to_owned(), at: At::Value, what, remedy });
    let bare = got.types.without(Types::NULL);
    // What fits only where it is null is as wrong as what never fits.
    let fits = if bare == Types::NONE { got.types.meets(want.types) } else { bare.meets(want.types) };
    if !fits {
        let what = format!("this is {}; {} is wanted", words(got.types), words(want.types));
        let scalar = got.types.within(SCALAR);
        return say(problem::CANNOT_FIT, what, if scalar { Remedy::Convert(want.types) } else { Remedy::None });
    }
    if got.is_known() && !bare.within(want.types) {
        let what = format!("this may be {}; {} is wanted", words(bare.without(want.types)), words(want.types));
        say(problem::MAY_NOT_FIT, what, Remedy::Convert(want.types));
    }
    if got.is_known() && got.types.meets(Types::NULL) && !want.types.meets(Types::NULL) {
        let what = format!("this may be null; {} is wanted", words(want.types));
        say(problem::MAY_BE_NULL, what, Remedy::Null { wanted: want.types, needed: target.needed });
    }
    values(want, got, at, found);
    if bare == Types::ARRAY
        && want.types.meets(Types::ARRAY)
        && let (Some(want), Some(got)) = (&want.items, &got.items)
    {
        items(want, got, at, found);
    }
    if got.types == Types::OBJECT && want.types.meets(Types::OBJECT) {
        keys(want, got, at, found);
    }
}

fn values(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    if want.values.is_empty() || got.values.is_empty() {
        return;
    }
    let impossible = |value: &&Value| !value.is_null() && !want.values.contains(value);
    let Some(value) = got.values.iter().find(impossible) else { return };
    let never = !got.values.iter().any(|value| want.values.contains(value));
    let (code, may) =
        if never { (problem::CANNOT_FIT, "is") } else { (problem::MAY_NOT_FIT, "is possible here, but is") };
    let what = format!("{value} {may} not one of the possible values");
    let possible: Vec<String> = want.values.iter().map(ToString::to_string).collect();
    let remedy = Remedy::Hint(format!("possible: {}", possible.join(", ")));
    found.push(Misfit { code, pointer: at.to_owned(), at: At::Value, what, remedy });
}

/// A list may be empty, so no item is a certain misfit.
fn items(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    let mut inner = Vec::new();
    compare(want, got, &Target { at: "", needed: true }, &mut inner);
    for one in inner {
        let code = if one.code == problem::MAY_BE_NULL { one.code } else { problem::MAY_NOT_FIT };
        let key = one.pointer.rsplit('/').next().filter(|key| !key.is_empty());
        let whose = key.map_or_else(|| "an item".to_owned(), |key| format!("`{key}` of an item"));
        let what = format!("{whose} of this list: {}", one.what);
        let remedy = match one.remedy {
            Remedy::Null { .. } => Remedy::Hint(NAMES_NO_ONE.to_owned()),
            Remedy::Convert(_) => Remedy::None,
            remedy @ (Remedy::None | Remedy::Hint(_)) => remedy,
        };
        found.push(Misfit { code, pointer: at.to_owned(), at: At::Value, what, remedy });
    }
}

/// What to do where no expression of its own gives the value.
pub const NAMES_NO_ONE: &str =
    "if it is always sent, list its key as `required` in the schema; or else name its fields one by one";

fn keys(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    let mut meant = Vec::new();
    for (key, got) in &got.properties {
        match want.properties.get(key) {
            Some(want_it) => {
                let needed = want.required.contains(key);
                compare(want_it, got, &Target { at: &child(at, key), needed }, found);
            }
            None if want.closed => {
                meant.extend(nearest(key, want.properties.keys().map(String::as_str)));
                let hint = suggest(key, want.properties.keys().map(String::as_str));
                let what = format!("there is no input `{key}`");
                let remedy = hint.map_or(Remedy::None, Remedy::Hint);
                found.push(Misfit { code: problem::UNKNOWN_KEY, pointer: child(at, key), at: At::Key, what, remedy });
            }
            None => {}
        }
    }
    for key in &want.required {
        let kind = want.properties.get(key).map_or(Types::ANY, |shape| shape.types);
        // A key that was misspelt is not also missing.
        let absent = !got.properties.contains_key(key) && !meant.contains(&key.as_str());
        if got.closed && absent {
            let what = format!("the input `{key}` ({}) is missing", words(kind));
            let remedy = Remedy::Hint(format!("add `{key}: …`"));
            found.push(Misfit { code: problem::MISSING_INPUT, pointer: at.to_owned(), at: At::Value, what, remedy });
        } else if got.properties.contains_key(key) && !got.required.contains(key) {
            let what = format!("`{key}` may be left out, but it is required");
            let remedy = Remedy::Null { wanted: kind, needed: true };
            found.push(Misfit { code: problem::MAY_BE_NULL, pointer: child(at, key), at: At::Value, what, remedy });
        }
    }
}

/// What to write instead of `given`, whose null would fail the run; `needed` unless its key may be left out. `None` if it
/// is no whole expression.
pub fn mend(given: &Value, wanted: Types, needed: bool) -> Option<String> {
    let inner = expression(given)?;
    let value = argument(inner);
    let other = fallback(wanted).map(|other| format!("`{{{{coalesce {value} {other}}}}}`"));
    let fails = format!("`{{{{required {value}}}}}`, which fails the step with its name");
    let leaves = format!("`{{{{optional {value}}}}}`, which leaves the key out");
    let ways: Vec<String> = other.into_iter().chain([if needed { fails } else { leaves }]).collect();
    let sent = inner.starts_with("trigger.body.");
    let schema = if sent { "; if it is always sent, list it as `required` in the schema" } else { "" };
    Some(format!("write {}{schema}", ways.join(" or ")))
}

/// How `given` becomes a value of another type that is wanted.
pub fn convert(given: &Value, wanted: Types) -> Option<String> {
    let ways = [(Types::STRING, "string"), (Types::NUMBER, "int")];
    let (_, way) = ways.into_iter().find(|(types, _)| wanted.without(Types::NULL) == *types)?;
    match given {
        Value::Number(_) | Value::Bool(_) => (way == "string").then(|| format!("put it in quotes: `\"{given}\"`")),
        Value::String(text) if !text.contains("{{") => {
            let number = way == "int" && text.parse::<serde_json::Number>().is_ok();
            number.then(|| format!("write it without quotes: `{text}`"))
        }
        given => Some(format!("convert it: `{{{{{way} {}}}}}`", argument(expression(given)?))),
    }
}

/// What stands within the braces of a whole expression, without the `optional` before it.
fn expression(given: &Value) -> Option<&str> {
    let inner = given.as_str()?.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim_matches(['{', '}', '~', ' ']);
    let inner = inner.strip_prefix("optional ").unwrap_or(inner).trim();
    (!inner.contains("{{")).then_some(inner)
}

/// An expression as it stands among the arguments of a function.
fn argument(inner: &str) -> String {
    let is_one = inner.contains('[') || !inner.contains(char::is_whitespace) || inner.starts_with('(');
    if is_one { inner.to_owned() } else { format!("({inner})") }
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
    use serde_json::json;

    use super::*;

    fn found(schema: &Value, got: &Shape) -> Vec<String> {
        let mut found = Vec::new();
        misfits(&Shape::of_schema(schema), got, "", &mut found);
        found.into_iter().map(|one| format!("{} {} {}", one.pointer, one.code.0, one.what)).collect()
    }

    fn given(types: &[(&str, Types)], closed: bool) -> Shape {
        let properties = types.iter().map(|(key, types)| ((*key).to_owned(), Shape::of(*types))).collect();
        let required = types.iter().map(|(key, _)| (*key).to_owned()).collect();
        Shape { properties, closed, required, ..Shape::of(Types::OBJECT) }
    }

    fn lead() -> Value {
        json!({
            "type": "object", "required": ["email"], "additionalProperties": false,
            "properties": {"email": {"type": "string"}, "seats": {"type": "integer"}, "code": {"enum": ["INS", "DNC"]}}
        })
    }

    #[test]
    fn what_fits_and_what_is_not_known_is_no_misfit() {
        assert!(found(&lead(), &given(&[("email", Types::STRING), ("seats", Types::ANY)], true)).is_empty());
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
    fn what_may_be_null_or_another_type_is_a_warning_unless_nothing_is_known() {
        let mut maybe =
            given(&[("email", Types::STRING.or(Types::NULL)), ("seats", Types::NUMBER.or(Types::STRING))], true);
        maybe.required = vec!["seats".to_owned()];
        let expected = [
            "/email W-FLOW-026 this may be null; text is wanted",
            "/seats W-FLOW-025 this may be text; a number is wanted",
            "/email W-FLOW-026 `email` may be left out, but it is required",
        ];
        assert_eq!(found(&lead(), &maybe), expected);

        let mut code = Shape::of(Types::STRING);
        code.values = vec![json!("INS"), json!("INX")];
        let mut some = given(&[], true);
        some.properties.extend([("email".to_owned(), Shape::of(Types::STRING)), ("code".to_owned(), code)]);
        some.required = vec!["email".to_owned()];
        let expected = ["/code W-FLOW-025 \"INX\" is possible here, but is not one of the possible values"];
        assert_eq!(found(&lead(), &some), expected);
    }

    #[test]
    fn the_items_of_a_list_are_compared_too() {
        let want = json!({"type": "array", "items": {"type": "string"}});
        let list = |items: Types| Shape { items: Some(Box::new(Shape::of(items))), ..Shape::of(Types::ARRAY) };
        assert!(found(&want, &list(Types::STRING)).is_empty());
        assert!(found(&want, &Shape::of(Types::ARRAY)).is_empty());
        let expected = [" W-FLOW-025 an item of this list: this is a number; text is wanted"];
        assert_eq!(found(&want, &list(Types::NUMBER)), expected);
    }

    #[test]
    fn a_remedy_is_written_for_the_very_expression() {
        let mend = |text: &str, needed| mend(&json!(text), Types::STRING, needed).unwrap_or_default();
        assert_eq!(
            mend("{{ first vars.list }}", true),
            "write `{{coalesce (first vars.list) \"…\"}}` or `{{required (first vars.list)}}`, which fails the step with its name"
        );
        assert_eq!(
            mend("{{optional vars.a}}", false),
            "write `{{coalesce vars.a \"…\"}}` or `{{optional vars.a}}`, which leaves the key out"
        );
        assert_eq!(mend("{{a}} and {{b}}", true), "");
        let convert = |value: Value, wanted| convert(&value, wanted).unwrap_or_default();
        assert_eq!(convert(json!("{{vars.a}}"), Types::STRING), "convert it: `{{string vars.a}}`");
        assert_eq!(convert(json!(5), Types::STRING), "put it in quotes: `\"5\"`");
        assert_eq!(convert(json!("5"), Types::NUMBER), "write it without quotes: `5`");
        assert_eq!(convert(json!("five"), Types::NUMBER), "");
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
