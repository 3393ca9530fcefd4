//! The parts of a connector's file that are more than one value: requests, rules on answers, limits.

use super::*;
use crate::connector::Rate;
use crate::connector::declared::{Expected, Form, Part, Path, Rule, Statuses, Test, Then, Wait};

impl Reader<'_> {
    pub(super) fn request(&mut self, at: &str, value: &Value, input: &Shape) -> Option<Call> {
        const KEYS: &[&str] = &[
            "get",
            "post",
            "put",
            "patch",
            "delete",
            "query",
            "headers",
            "json",
            "form",
            "multipart",
            "body",
            "base64",
            "content_type",
            "omit_missing",
        ];
        let fields = self.object(at, value, KEYS)?;
        let methods: Vec<_> = METHODS.iter().filter(|(key, _)| fields.contains_key(*key)).collect();
        let [(key, method)] = methods.as_slice() else {
            let hint = "write one of get, post, put, patch, delete, as in `post: /leads`".to_owned();
            self.wrong("E-CON-004", at, "a request has exactly one method".into(), Some(hint));
            return None;
        };
        let path = self.path(&format!("{at}/{key}"), fields.get(*key), input);
        let query = self.each_template(&format!("{at}/query"), fields.get("query"), input);
        let headers = self.each_template(&format!("{at}/headers"), fields.get("headers"), input);
        for (name, _) in &headers {
            self.header_name(&format!("{at}/headers/{name}"), name);
        }
        let body = self.body(at, fields, input)?;
        let omit_missing = self.flag(&format!("{at}/omit_missing"), fields.get("omit_missing"), false);
        Some(Call {
            method,
            path: path?,
            query,
            headers,
            body,
            omit_missing,
            answer: Form::Json,
            output: Output::Body,
            errors: Vec::new(),
            success: None,
            pages: None,
            limits: Keyed::default(),
        })
    }

    /// Cuts `/{{ input.table }}({{ call.uuid }})` into text and values, so that each value can be encoded by itself.
    fn path(&mut self, at: &str, value: Option<&Value>, input: &Shape) -> Option<Path> {
        let Some(Value::String(text)) = value else {
            self.wrong("E-CON-004", at, "a path is a text such as `/leads`".into(), None);
            return None;
        };
        if !text.starts_with('/') {
            let hint = "paths are added to `base_url`; the host cannot be changed here".to_owned();
            self.wrong("E-CON-004", at, "a path starts with `/`".into(), Some(hint));
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("{{") {
            let Some(length) = end_of_expression(&rest[start..]) else {
                self.wrong("E-CON-006", at, "`{{` is not closed by `}}`".into(), None);
                return None;
            };
            let (literal, expression) = (&rest[..start], &rest[start..start + length]);
            if expression.starts_with("{{#") || expression.starts_with("{{/") {
                let hint = "use an `if` function: {{if x \"a\" \"b\"}}".to_owned();
                self.wrong("E-CON-006", at, "a path has no blocks".into(), Some(hint));
                return None;
            }
            parts.push(Part::Text(literal.into()));
            parts.push(Part::Value(self.template(at, &json!(expression), input, false)?));
            rest = &rest[start + length..];
        }
        parts.push(Part::Text(rest.into()));
        Some(Path(parts))
    }

    pub(super) fn rules(&mut self, at: &str, value: Option<&Value>) -> Vec<Rule> {
        let listed = match value {
            None => return Vec::new(),
            Some(Value::Array(listed)) => listed,
            Some(_) => {
                self.wrong("E-CON-004", at, "it is a list of rules".into(), None);
                return Vec::new();
            }
        };
        let rules = listed.iter().enumerate();
        rules.filter_map(|(index, value)| self.rule(&format!("{at}/{index}"), value)).collect()
    }

    fn rule(&mut self, at: &str, value: &Value) -> Option<Rule> {
        let test = self.test(at, value, &["status", "header", "path", "is", "matches", "then", "wait"])?;
        let then = value.get("then").and_then(Value::as_str).unwrap_or_default();
        let Some((_, then)) = Then::NAMES.into_iter().find(|(name, _)| *name == then) else {
            let names = Then::NAMES.map(|(name, _)| name).join(", ");
            self.wrong("E-CON-004", &format!("{at}/then"), format!("it is one of {names}"), None);
            return None;
        };
        if test.status.is_empty() && test.headers.is_empty() && test.body.is_none() {
            let hint = "say which answers it means: `status`, `header`, or `path` with `is` or `matches`".to_owned();
            self.wrong("E-CON-004", at, "the rule would match every answer".into(), Some(hint));
        }
        let waits = match value.get("wait") {
            None => Vec::new(),
            Some(Value::Array(waits)) => waits.clone(),
            Some(one) => vec![one.clone()],
        };
        let wait = waits.iter().filter_map(|wait| self.wait(&format!("{at}/wait"), wait)).collect();
        Some(Rule { test, then, wait })
    }

    fn wait(&mut self, at: &str, value: &Value) -> Option<Wait> {
        let text = value.as_str().unwrap_or_default();
        if text == "retry-after" {
            return Some(Wait::RetryAfter);
        }
        if let Some(header) = text.strip_prefix("reset:") {
            return Some(Wait::Reset(header.trim().to_ascii_lowercase()));
        }
        if text.starts_with('$') {
            return self.selection(at, value).map(Wait::Path);
        }
        if text.starts_with(|letter: char| letter.is_ascii_digit()) {
            return self.duration(at, Some(value)).map(Wait::Always);
        }
        let what = "it is `retry-after`, `reset:HEADER`, a JSONPath to seconds, or a time such as `30s`".to_owned();
        self.wrong("E-CON-004", at, what, None);
        None
    }

    pub(super) fn test(&mut self, at: &str, value: &Value, keys: &[&str]) -> Option<Test> {
        let fields = self.object(at, value, keys)?;
        let statuses = match fields.get("status") {
            None => Vec::new(),
            Some(Value::Array(statuses)) => statuses.clone(),
            Some(one) => vec![one.clone()],
        };
        let mut status = Vec::new();
        for value in &statuses {
            let one = value.as_u64().and_then(|one| u16::try_from(one).ok()).filter(|one| (100..600).contains(one));
            let hundred = value.as_str().and_then(|text| text.strip_suffix("xx")?.parse().ok());
            match (one, hundred.filter(|hundred| (1..6).contains(hundred))) {
                (Some(one), _) => status.push(Statuses::One(one)),
                (None, Some(hundred)) => status.push(Statuses::Hundred(hundred)),
                (None, None) => {
                    let what = format!("`{value}` is neither a status nor, as `5xx`, a hundred of them");
                    self.wrong("E-CON-004", &format!("{at}/status"), what, None);
                }
            }
        }
        let headers = self.header_values(&format!("{at}/header"), fields.get("header"));
        let expected = match (fields.get("is"), fields.get("matches")) {
            (Some(_), Some(_)) => {
                self.wrong("E-CON-004", at, "`is` and `matches` exclude each other".into(), None);
                return None;
            }
            (Some(Value::Array(values)), None) => Some(Expected::Is(values.clone())),
            (Some(one), None) => Some(Expected::Is(vec![one.clone()])),
            (None, Some(pattern)) => {
                let schema = json!({"type": "string", "pattern": pattern});
                self.schema(&format!("{at}/matches"), &schema).map(Expected::Matches)
            }
            (None, None) => None,
        };
        let body = match (fields.get("path"), expected) {
            (None, None) => None,
            (None, Some(_)) => {
                self.wrong("E-CON-004", at, "`is` and `matches` need a `path`".into(), None);
                return None;
            }
            (Some(path), expected) => {
                Some((self.selection(&format!("{at}/path"), path)?, expected.unwrap_or(Expected::There)))
            }
        };
        Some(Test { status, headers, body })
    }

    /// `{x-ratelimit-remaining: "0"}`, a list of the values that it may have, or `{matches: PATTERN}`.
    fn header_values(&mut self, at: &str, value: Option<&Value>) -> Vec<(String, Expected)> {
        let listed = match value {
            None => return Vec::new(),
            Some(Value::Object(listed)) if !listed.is_empty() => listed,
            Some(_) => {
                let hint = "as in {x-ratelimit-remaining: \"0\"}".to_owned();
                self.wrong("E-CON-004", at, "it is an object of headers and their values".into(), Some(hint));
                return Vec::new();
            }
        };
        let mut headers = Vec::new();
        for (name, value) in listed {
            let at = format!("{at}/{name}");
            let expected = match value {
                Value::Object(_) => {
                    let Some(fields) = self.object(&at, value, &["matches"]) else { continue };
                    let schema = json!({"type": "string", "pattern": fields.get("matches")});
                    self.schema(&format!("{at}/matches"), &schema).map(Expected::Matches)
                }
                Value::Array(values) => {
                    let texts: Vec<Value> = values.iter().filter_map(scalar).collect();
                    (!texts.is_empty() && texts.len() == values.len()).then_some(Expected::Is(texts))
                }
                one => scalar(one).map(|text| Expected::Is(vec![text])),
            };
            match expected {
                Some(expected) => headers.push((name.to_ascii_lowercase(), expected)),
                None => {
                    let what = "it is a value, a list of values, or {matches: PATTERN}".to_owned();
                    self.wrong("E-CON-004", &at, what, None);
                }
            }
        }
        headers
    }

    pub(super) fn limits(&mut self, at: &str, value: Option<&Value>, input: &Shape) -> Keyed {
        let Some(value) = value else { return Keyed::default() };
        let Some(fields) = self.object(at, value, &["concurrent", "rate", "key"]) else {
            return Keyed::default();
        };
        let concurrent = fields.get("concurrent").and_then(|value| {
            let count = value.as_u64().filter(|count| (1..=10_000).contains(count));
            if count.is_none() {
                self.wrong("E-CON-004", &format!("{at}/concurrent"), "it is a number from 1 to 10000".into(), None);
            }
            count.map(|count| count as usize)
        });
        let rate = fields.get("rate").and_then(|value| {
            let at = format!("{at}/rate");
            let fields = self.object(&at, value, &["requests", "per"])?;
            let per = self.duration(&format!("{at}/per"), fields.get("per"));
            let requests = fields.get("requests").and_then(Value::as_u64);
            match (requests.and_then(|count| u32::try_from(count).ok()), per) {
                (Some(requests @ 1..), Some(per)) if !per.is_zero() => Some(Rate { requests, per }),
                _ => {
                    self.wrong("E-CON-004", &at, "it is {requests: 10, per: 1s}".into(), None);
                    None
                }
            }
        });
        // Calls are counted before they have a token.
        let token = std::mem::replace(&mut self.token, false);
        let key = fields.get("key").and_then(|value| self.template(&format!("{at}/key"), value, input, false));
        self.token = token;
        Keyed { limits: Limits { concurrent, rate }, key }
    }
}

/// A header's value, always a text.
fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(Value::String(text.clone())),
        Value::Number(number) => Some(Value::String(number.to_string())),
        Value::Bool(flag) => Some(Value::String(flag.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How many bytes the expression at the start of `text` has, its braces included; quotes may hold braces.
fn end_of_expression(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, letter) in text.char_indices().skip(2) {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '}') if text[index..].starts_with("}}") => {
                // `{{{x}}}` ends with three.
                let triple = text.starts_with("{{{") && text[index..].starts_with("}}}");
                return Some(index + if triple { 3 } else { 2 });
            }
            (None, _) => {}
        }
    }
    None
}
