//! When a connection's target counts as down.

use serde_json::{Map, Value};

use super::{Reader, child};
use crate::connector::Breaker;
use crate::flow::{self, At};

impl Reader<'_> {
    /// `breaker: {failures: 5, pause: 30s}`, or `off`; what is not said is as by default.
    pub(super) fn breaker(&mut self, map: &Map<String, Value>, at: &str) -> Option<Breaker> {
        let usual = Breaker::default();
        let at = child(at, "breaker");
        let fields = match map.get("breaker") {
            None => return Some(usual),
            Some(Value::Bool(false)) => return None,
            Some(Value::String(text)) if text == "off" => return None,
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                let what = "a breaker is a map, as in `{failures: 5, pause: 30s}`, or `off`".to_owned();
                self.say(flow::WRONG_TYPE, &at, At::Value, what, None);
                return Some(usual);
            }
        };
        self.keys(fields, &at, &["failures", "pause"]);
        let mut breaker = usual;
        if let Some(value) = fields.get("failures") {
            match value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| (1..=1000).contains(count))
            {
                Some(count) => breaker.failures = count,
                None => {
                    let what = "`failures` is a whole number from 1 to 1000: failures in a row".to_owned();
                    self.say(flow::BAD_VALUE, &child(&at, "failures"), At::Value, what, None);
                }
            }
        }
        if let Some(value) = fields.get("pause") {
            let pause = value.as_str().and_then(|text| flow::duration(text).ok());
            match pause.filter(|pause| (100..=3_600_000).contains(&pause.as_millis())) {
                Some(pause) => breaker.pause = pause,
                None => {
                    let what = "`pause` is a time from 100ms to 1h, as in `30s`".to_owned();
                    self.say(flow::BAD_VALUE, &child(&at, "pause"), At::Value, what, None);
                }
            }
        }
        Some(breaker)
    }
}
