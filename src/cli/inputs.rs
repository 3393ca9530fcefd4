//! `--input name=value`: values read as the flow declares them.

use anyhow::{anyhow, bail};
use serde_json::{Map, Value};

use super::text;
use crate::flow::suggest;
use crate::mapping::parse_json;

/// The body with the given inputs in it; `flow` is the flow as `GET /flows` tells it.
///
/// # Errors
/// Which input is wrong, and what type it has.
pub(super) fn fill(body: Value, given: &[String], flow: &Value) -> anyhow::Result<Value> {
    if given.is_empty() {
        return Ok(body);
    }
    let mut members = match body {
        Value::Null => Map::new(),
        Value::Object(members) => members,
        _ => bail!("`--input` adds to a JSON object; the file holds something else"),
    };
    let mut seen = Vec::new();
    for one in given {
        let Some((name, value)) = one.split_once('=') else {
            bail!("`{one}` is no input; write `--input name=value`");
        };
        if seen.contains(&name) {
            bail!("the input `{name}` is given twice");
        }
        seen.push(name);
        members.insert(name.to_owned(), read(name, value, flow)?);
    }
    Ok(Value::Object(members))
}

fn read(name: &str, value: &str, flow: &Value) -> anyhow::Result<Value> {
    let declared = flow.get("inputs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let Some(input) = declared.iter().find(|input| input["name"] == name) else {
        if text(flow, "trigger") != "manual" || declared.is_empty() {
            return Ok(Value::String(value.to_owned()));
        }
        let names: Vec<String> = declared.iter().map(|input| text(input, "name")).collect();
        let hint = suggest(name, names.iter().map(String::as_str)).unwrap_or_default();
        return Err(anyhow!("flow `{}` has no input `{name}`; {hint}", text(flow, "id")));
    };
    let kind = text(input, "type");
    if kind == "string" {
        return Ok(Value::String(value.to_owned()));
    }
    let parsed = parse_json(value.trim().as_bytes()).ok().filter(|value| match kind.as_str() {
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.as_number().is_some_and(|number| !number.to_string().contains(['.', 'e', 'E'])),
        _ => value.is_number(),
    });
    let wanted = match kind.as_str() {
        "boolean" => "true or false",
        "array" => "a JSON list, as in `[1, 2]`",
        "object" => "a JSON object, as in `{\"a\": 1}`",
        "integer" => "a whole number",
        _ => "a number",
    };
    parsed.ok_or_else(|| anyhow!("the input `{name}` is {wanted} (type {kind}); `{value}` is not"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_their_inputs_are_declared() {
        let kinds = ["string", "number", "integer", "boolean", "array", "object"];
        let inputs: Vec<Value> = kinds.iter().map(|kind| json!({"name": kind, "type": kind})).collect();
        let flow = json!({"id": "send", "trigger": "manual", "inputs": inputs});
        let try_it = |given: &str| fill(Value::Null, &[given.to_owned()], &flow);
        assert_eq!(try_it("string=7").unwrap(), json!({"string": "7"}));
        assert_eq!(try_it("string=a=b").unwrap(), json!({"string": "a=b"}));
        assert_eq!(try_it("number=9007199254740993").unwrap().to_string(), r#"{"number":9007199254740993}"#);
        assert_eq!(try_it("boolean=true").unwrap(), json!({"boolean": true}));
        assert_eq!(try_it("array=[1]").unwrap(), json!({"array": [1]}));
        for (wrong, says) in [
            ("integer=1.5", "`integer` is a whole number"),
            ("number=x", "`number` is a number"),
            ("boolean=yes", "`boolean` is true or false"),
            ("object=[]", "`object` is a JSON object"),
            ("strng=a", "did you mean `string`?"),
            ("string", "`--input name=value`"),
        ] {
            let error = try_it(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn inputs_are_laid_over_a_file_and_an_open_flow_takes_text() {
        let flow = json!({"id": "lead", "trigger": "request", "inputs": []});
        let given = ["a=1".to_owned()];
        assert_eq!(fill(json!({"a": 0, "b": 2}), &given, &flow).unwrap(), json!({"a": "1", "b": 2}));
        assert!(fill(json!([1]), &given, &flow).is_err());
        assert!(fill(Value::Null, &["a=1".to_owned(), "a=2".to_owned()], &flow).is_err());
    }
}
