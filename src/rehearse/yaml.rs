//! Writes values as YAML that a person reads.

use serde_json::Value;

/// Appends `value` below a key or after a dash, each line indented by `depth` steps of two.
pub(super) fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            for (key, value) in map {
                out.push_str(&"  ".repeat(depth));
                out.push_str(&plain(key));
                out.push(':');
                write(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                out.push_str(&"  ".repeat(depth));
                out.push('-');
                let mut inner = String::new();
                write(&mut inner, item, depth + 1);
                // A map begins on the dash's own line.
                let own = "  ".repeat(depth + 1);
                match inner.strip_prefix('\n').and_then(|inner| inner.strip_prefix(&own)) {
                    Some(first) if item.is_object() => out.push_str(&format!(" {first}")),
                    _ => out.push_str(&inner),
                }
            }
        }
        Value::Object(_) => out.push_str(" {}\n"),
        Value::Array(_) => out.push_str(" []\n"),
        Value::String(text) if text.contains('\n') && is_block(text) => {
            let keep = if text.ends_with('\n') { "" } else { "-" };
            out.push_str(&format!(" |{keep}\n"));
            for line in text.trim_end_matches('\n').split('\n') {
                if !line.is_empty() {
                    out.push_str(&"  ".repeat(depth));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Value::String(text) => out.push_str(&format!(" {}\n", plain(text))),
        other => out.push_str(&format!(" {other}\n")),
    }
}

/// Text that a literal block can hold as it is.
fn is_block(text: &str) -> bool {
    let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{FEFF}' || c == '\u{2028}' || c == '\u{2029}';
    !text.starts_with([' ', '\n']) && !text.ends_with("\n\n") && !text.contains(odd)
}

/// Text without quotes where YAML takes it for text, else as JSON writes it, which is YAML too.
fn plain(text: &str) -> String {
    let first = |c: char| c.is_alphabetic() || c == '_';
    let rest = |c: char| c.is_alphanumeric() || "_-./@ ".contains(c);
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    let safe = text.starts_with(first) && text.chars().all(rest) && !text.ends_with(' ') && !word;
    if safe { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "plain": "a word", "no": "no", "number": "12", "real": 12.5, "null": null, "empty": {}, "none": [],
            "lines": "one\n  two\n\nthree", "ended": "one\ntwo\n", "odd": " x: y # z", "date": "2026-01-05",
            "list": [1, {"a": 1, "b": [{"c": "d"}, [2, 3]]}, "x", {}], "key with: colon": {"@odata.type": "#a"},
            "template": "{{x}}", "tab": "a\tb\nc",
        });
        let mut out = String::new();
        write(&mut out, &value, 0);
        let read: serde_yaml::Value = serde_yaml::from_str(&out).unwrap_or_else(|error| panic!("{error}:\n{out}"));
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            serde_json::from_str::<Value>(&value.to_string()).unwrap(),
            "{out}"
        );
    }
}
