//! What is other than expected, told so that a person sees where.

use std::fmt;

use serde_json::Value;

/// One place where a value is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// Within the value, JSON Pointer.
    pub pointer: String,
    pub expected: Value,
    /// `None` where there is nothing.
    pub got: Option<Value>,
}

/// Longest value that is told on one line, characters.
const LINE: usize = 100;
/// Longest value that is told at all.
const LONGEST: usize = 2_000;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.pointer.is_empty() { String::new() } else { format!("at {}: ", self.pointer) };
        let got = self.got.as_ref();
        if let (Value::String(expected), Some(Value::String(got))) = (&self.expected, got)
            && (expected.contains('\n') || got.contains('\n'))
        {
            write!(f, "{at}these lines differ (- expected, + got)\n{}", lines(expected, got))?;
            return Ok(());
        }
        let expected = shown(&self.expected);
        let got = got.map_or_else(|| "nothing".to_owned(), shown);
        if expected.chars().count() + got.chars().count() <= LINE {
            return write!(f, "{at}expected {expected}, got {got}");
        }
        write!(f, "{at}\n  expected {expected}\n  got      {got}")
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// Where `got` is not what is expected. Of a map only the keys that are expected are asked for (null: absent, or null);
/// lists are compared item by item, and numbers by their value.
pub(super) fn differences(expected: &Value, got: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(expected, Some(got), &mut String::new(), &mut found);
    found
}

fn compare(expected: &Value, got: Option<&Value>, at: &mut String, found: &mut Vec<Difference>) {
    let length = at.len();
    match (expected, got) {
        (Value::Object(wanted), Some(Value::Object(there))) => {
            for (key, wanted) in wanted {
                at.push('/');
                at.push_str(&key.replace('~', "~0").replace('/', "~1"));
                compare(wanted, there.get(key), at, found);
                at.truncate(length);
            }
        }
        (Value::Array(wanted), Some(Value::Array(there))) if wanted.len() == there.len() => {
            for (index, (wanted, there)) in wanted.iter().zip(there).enumerate() {
                at.push_str(&format!("/{index}"));
                compare(wanted, Some(there), at, found);
                at.truncate(length);
            }
        }
        (Value::Null, None) => {}
        (expected, got) => {
            if !got.is_some_and(|got| same(expected, got)) {
                found.push(Difference { pointer: at.clone(), expected: expected.clone(), got: got.cloned() });
            }
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let whole = |number: &serde_json::Number| number.to_string().parse::<i128>().ok();
            match (whole(a), whole(b)) {
                (Some(a), Some(b)) => a == b,
                _ => a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a)),
            }
        }
        (a, b) => a == b,
    }
}

/// Lines before and after a change that are told.
const AROUND: usize = 2;
/// More lines than this are not brought in line with each other.
const MAX_LINES: usize = 3_000;

/// The lines in which two texts differ, with a few around them: `-` is of the first, `+` of the second.
pub(super) fn lines(expected: &str, got: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (middle_a, middle_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let mut marked: Vec<(char, &str)> =
        a[start.saturating_sub(AROUND)..start].iter().map(|line| (' ', *line)).collect();
    if middle_a.len().max(middle_b.len()) > MAX_LINES {
        marked.extend(middle_a.iter().map(|line| ('-', *line)).chain(middle_b.iter().map(|line| ('+', *line))));
    } else {
        marked.extend(aligned(middle_a, middle_b));
    }
    marked.extend(a[a.len() - end..].iter().take(AROUND).map(|line| (' ', *line)));
    let mut out = String::new();
    let mut skipped = false;
    for (index, (mark, line)) in marked.iter().enumerate() {
        let near = &marked[index.saturating_sub(AROUND)..(index + AROUND + 1).min(marked.len())];
        if near.iter().all(|(mark, _)| *mark == ' ') {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) && !out.is_empty() {
            out.push_str("  …\n");
        }
        out.push_str(&format!("{mark} {line}\n"));
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// The longest lines in common, and what is between them.
fn aligned<'l>(a: &[&'l str], b: &[&'l str]) -> Vec<(char, &'l str)> {
    let width = b.len() + 1;
    let mut common = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut marked) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            marked.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            marked.push(('-', a[i]));
            i += 1;
        } else {
            marked.push(('+', b[j]));
            j += 1;
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_expected_is_asked_for_and_each_difference_says_where() {
        let got = json!({"record": {"firstname": "Ann", "seats": 5.0, "tags": ["a", "b"]}, "table": "leads"});
        assert!(differences(&json!({"record": {"seats": 5, "phone": null}}), &got).is_empty());
        let found = differences(&json!({"record": {"firstname": "Ada", "tags": ["a"], "fax": 1}}), &got);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                r#"at /record/firstname: expected "Ada", got "Ann""#,
                r#"at /record/tags: expected ["a"], got ["a","b"]"#,
                "at /record/fax: expected 1, got nothing",
            ]
        );
    }

    #[test]
    fn large_numbers_are_told_apart() {
        let (a, b) = (json!(9007199254740993_u64), json!(9007199254740992_u64));
        assert_eq!(differences(&a, &b).len(), 1);
    }

    #[test]
    fn of_long_texts_the_lines_are_told_that_differ() {
        let expected = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10";
        let told = lines(expected, "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11");
        assert_eq!(told, "  3\n  4\n- 5\n+ five\n  6\n  7\n  …\n  9\n  10\n+ 11");
    }
}
