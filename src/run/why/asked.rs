//! What is asked, taken apart: `keep[2].row.email`.

use crate::mapping::Key;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub step: String,
    /// Which execution, from 0; the last unless set.
    pub number: Option<usize>,
    /// True for what the step gave, false for what it was given; by its kind unless set.
    pub output: Option<bool>,
    pub keys: Vec<Key>,
}

impl Asked {
    /// Reads `step.key…`, `step[2].output.key…` and `steps.step.output.key…`; a key with dots stands in brackets.
    pub fn read(text: &str) -> Result<Asked, String> {
        let wrong = || format!("`{text}` names no value; write `step.key.key`, as in `create_lead.record.firstname`");
        let mut keys = split(text).ok_or_else(wrong)?.into_iter().peekable();
        if text.starts_with("steps.") {
            keys.next();
        }
        let step = keys.next().filter(|(_, bracketed)| !bracketed).map(|(step, _)| step).ok_or_else(wrong)?;
        let number = keys.next_if(|(key, bracketed)| *bracketed && key.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|(key, _)| key.parse().ok());
        let side = keys.next_if(|(key, bracketed)| !bracketed && ["input", "inputs", "output"].contains(&key.as_str()));
        let output = side.map(|(key, _)| key == "output");
        Ok(Asked { step, number, output, keys: keys.map(|(key, _)| key).collect() })
    }
}

/// Keys, and whether each stood in brackets; `None` where brackets do not close or a key is empty.
fn split(text: &str) -> Option<Vec<(Key, bool)>> {
    let mut keys = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after, bracketed) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (key, after) = inner.split_once(']')?;
                (key, after, true)
            }
            None => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                (&rest[..end], &rest[end..], false)
            }
        };
        if key.is_empty() {
            return None;
        }
        keys.push((key.to_owned(), bracketed));
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_named_by_its_step_and_keys() {
        let read =
            |text: &str| Asked::read(text).map(|asked| (asked.step, asked.number, asked.output, asked.keys.join("/")));
        let value = |step: &str, number, output, keys: &str| Ok((step.to_owned(), number, output, keys.to_owned()));
        assert_eq!(read("create_lead.record.firstname"), value("create_lead", None, None, "record/firstname"));
        assert_eq!(read("steps.create_lead.output.id"), value("create_lead", None, Some(true), "id"));
        assert_eq!(read("keep[2].input.row.[@odata.type]"), value("keep", Some(2), Some(false), "row/@odata.type"));
        assert_eq!(read("keep"), value("keep", None, None, ""));
        for wrong in ["", "[2]", "a[b", "steps."] {
            assert!(Asked::read(wrong).is_err(), "{wrong}");
        }
    }
}
