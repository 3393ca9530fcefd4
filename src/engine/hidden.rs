//! Keys of `wait` steps, taken out of what is shown to those who may only read: whoever has one can let a run go on.

use std::collections::HashSet;

use serde_json::Value;

use super::keys::RESUME_KEY_LEN;
use super::*;
use crate::flow::{Flow, Kind};
use crate::run::{Place, place_of};

impl Engine {
    /// The keys of all `wait` steps of a run, in iterations too, as far as they are in its history as it is told.
    pub(super) fn keys_told(&self, run: RunId, flow: &Flow, told: &Value) -> HashSet<String> {
        let mut places = HashSet::new();
        let waits = flow.addresses.keys().filter(|id| {
            let step = flow.step_called(id);
            step.is_some_and(|step| matches!(step.kind, Kind::Wait { .. }))
        });
        let steps = told["steps"].as_array().into_iter().flatten();
        let around = steps.filter_map(|step| serde_json::from_value::<Place>(step["place"].clone()).ok());
        let around: Vec<Place> = std::iter::once(Place(Vec::new())).chain(around).collect();
        for id in waits {
            match place_of(flow, &[], id) {
                Some(place) => drop(places.insert(place)),
                // In a loop it has one in each iteration.
                None => places.extend(around.iter().filter_map(|around| place_of(flow, &around.0, id))),
            }
        }
        places.iter().map(|place| self.keys.resume_key(run, place)).collect()
    }
}

/// Takes keys out of a value: these, wherever they stand, and those of all URLs of `wait` steps.
pub(super) fn hide(value: &mut Value, keys: &HashSet<String>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if text.contains("/resume/") {
                *text = without_urls(text);
            }
            if text.len() >= RESUME_KEY_LEN && !keys.is_empty() {
                *text = without(text, keys);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, keys)),
        Value::Object(members) => members.values_mut().for_each(|member| hide(member, keys)),
    }
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Without these keys.
fn without(text: &str, keys: &HashSet<String>) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // How much of the rest can be part of a key, at its beginning.
    let mut run = 0;
    while let Some(c) = rest.chars().next() {
        if run == 0 {
            run = rest.find(|c| !is_of_key(c)).unwrap_or(rest.len());
        }
        if run >= RESUME_KEY_LEN && keys.contains(&rest[..RESUME_KEY_LEN]) {
            shown.push('…');
            rest = &rest[RESUME_KEY_LEN..];
            run -= RESUME_KEY_LEN;
        } else {
            shown.push(c);
            rest = &rest[c.len_utf8()..];
            run = run.saturating_sub(1);
        }
    }
    shown
}

/// Without the key of any URL of a `wait` step.
pub(super) fn without_urls(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/resume/") {
        shown = shown + before + "/resume/";
        rest = after;
        let mut parts = after.splitn(3, '/');
        let (Some(run), Some(place), Some(last)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let key = last.find(|c| !is_of_key(c)).unwrap_or(last.len());
        if run.parse::<RunId>().is_ok() && key > 0 {
            shown = shown + run + "/" + place + "/…";
            rest = &last[key..];
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_wherever_such_a_url_stands() {
        let run = "0190f000-0000-7000-8000-000000000000";
        let url = |key: &str| format!("https://a.example/hooks/a/resume/{run}/2.0.1/{key}");
        assert_eq!(without_urls(&url("KEY-_1")), url("…"));
        let mail = format!("Yes: {} or <a href=\"{}?x=1\">no</a>", url("KEY"), url("OTHER"));
        assert_eq!(without_urls(&mail), format!("Yes: {} or <a href=\"{}?x=1\">no</a>", url("…"), url("…")));
        for plain in ["/resume/", "see /resume/a/b/c", "a/resume/b", &format!("/resume/{run}/1")] {
            assert_eq!(without_urls(plain), plain);
        }
    }

    #[test]
    fn a_key_is_taken_out_by_itself_and_within_a_longer_word() {
        let key = "Ab-_".repeat(RESUME_KEY_LEN / 4);
        let keys = HashSet::from([key.clone()]);
        for (text, shown) in [
            (key.clone(), "…".to_owned()),
            (format!("x{key}{key}é{key}-"), "x……é…-".to_owned()),
            (format!("{} {}", &key[1..], &key[..31]), format!("{} {}", &key[1..], &key[..31])),
        ] {
            assert_eq!(without(&text, &keys), shown);
        }
    }
}
