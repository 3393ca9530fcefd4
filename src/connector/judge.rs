//! What an answer means. The body is read before the status, since many APIs say 200 and mean no.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::declared::{Call, Declared, Form, Output, Then, Wait};
use super::prepare::unrendered;
use super::{Action, Class, Connector, Context, Failure, Kind};
use crate::mapping::{parse_json, xml_to_json};

/// An answer as it came, its body capped.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the body was longer than the cap and is cut.
    pub cut: bool,
}

impl Answer {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
    /// The body as JSON, every digit kept.
    pub fn json(&self) -> Option<Value> {
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        parse_json(body).ok()
    }
    /// A short piece of the body, for a message.
    pub fn snippet(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]).into_owned();
        if text.trim_start().starts_with('<') {
            return "(a page, not data)".into();
        }
        shorten(&text)
    }
    /// All headers as an object, as templates see them.
    pub fn header_object(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.headers {
            match object.get_mut(name) {
                Some(Value::String(known)) => *known = format!("{known}, {value}"),
                _ => {
                    object.insert(name.clone(), json!(value));
                }
            }
        }
        Value::Object(object)
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done(Value),
    /// The target does not know the caller: renew the token and try once more; else this failure.
    Unauthorized(Failure),
    Failed(Failure),
}

/// What `answer` to a call of this action means.
pub fn judge(connector: &Connector, action: &Action, context: Context, answer: &Answer, now: Timestamp) -> Outcome {
    let pages = action.call.as_ref().and_then(|call| call.pages.as_ref());
    match (judge_page(connector, action, context, answer, now), pages) {
        (Outcome::Done(body), Some(pages)) => {
            match pages.single(&format!("{}.{}", connector.name, action.name), answer, &body) {
                Ok(output) => Outcome::Done(output),
                Err(failure) => Outcome::Failed(failure),
            }
        }
        (outcome, _) => outcome,
    }
}

/// The same for one page of several: what is done is the page's body as it is.
pub(crate) fn judge_page(
    connector: &Connector,
    action: &Action,
    context: Context,
    answer: &Answer,
    now: Timestamp,
) -> Outcome {
    match (&connector.kind, &action.call) {
        (Kind::Declared(declared), Some(call)) => {
            let name = format!("{}.{}", connector.name, action.name);
            outcome(&name, declared, call, context, answer, now)
        }
        (Kind::Declared(_) | Kind::Native, _) => Outcome::Failed(Failure::new(
            Class::Permanent,
            "connector.native",
            format!("{}.{} is not judged by its description", connector.name, action.name),
        )),
    }
}

/// What `answer` to the connector's test means.
pub(crate) fn judge_test(
    connector: &Connector,
    declared: &Declared,
    context: Context,
    answer: &Answer,
    now: Timestamp,
) -> Outcome {
    match &declared.test {
        Some(call) => outcome(&format!("the test of {}", connector.name), declared, call, context, answer, now),
        None => Outcome::Done(Value::Null),
    }
}

fn outcome(name: &str, declared: &Declared, call: &Call, context: Context, answer: &Answer, now: Timestamp) -> Outcome {
    let status = answer.status;
    let good = (200..300).contains(&status);
    let body = understood(answer, call.answer, good);
    let said = || {
        let found = declared.error_text.iter().filter_map(|path| path.find(body.as_ref()?));
        match found.into_iter().find(|found| !found.is_null() && found != "" && found != &json!([])) {
            Some(Value::String(text)) => shorten(&text),
            Some(other) => shorten(&other.to_string()),
            None => answer.snippet(),
        }
    };
    let failure = |class: Class, code: &str, what: &str| {
        let said = said();
        let tail = if said.is_empty() { String::new() } else { format!(": {said}") };
        Failure::new(class, code, format!("{name} {what} (status {status}){tail}")).with_status(status)
    };
    let rule = call.errors.iter().chain(&declared.errors).find(|rule| rule.test.holds(answer, body.as_ref()));
    let throttled = |waits: &[Wait]| {
        let wait = waits.iter().find_map(|wait| wait_ms(wait, answer, body.as_ref(), now));
        let wait = wait.or_else(|| retry_after(answer, now));
        Outcome::Failed(failure(Class::Throttled, "connector.throttled", "was asked to slow down").with_wait(wait))
    };
    let unauthorized =
        || Outcome::Unauthorized(failure(Class::Held, "connector.unauthorized", "was refused its credentials"));
    let rejected = || Outcome::Failed(failure(Class::Permanent, "connector.rejected", "was refused"));
    let unknown = || {
        Outcome::Failed(
            failure(Class::Unknown, "connector.in_doubt", "failed, and may have happened")
                .with_wait(retry_after(answer, now)),
        )
    };
    match rule.map(|rule| (rule.then, &rule.wait)) {
        Some((Then::Throttled, waits)) => throttled(waits),
        Some((Then::Retry, waits)) => {
            let wait = waits.iter().find_map(|wait| wait_ms(wait, answer, body.as_ref(), now));
            Outcome::Failed(failure(Class::Retry, "connector.retry", "failed for now").with_wait(wait))
        }
        Some((Then::Auth, _)) => unauthorized(),
        Some((Then::Duplicate, _)) => {
            Outcome::Failed(failure(Class::Permanent, "connector.duplicate", "was refused as a duplicate"))
        }
        Some((Then::Permanent, _)) => rejected(),
        Some((Then::Unknown, _)) => unknown(),
        Some((Then::AlreadyDone, _)) => finished(name, call, context, answer, body, true),
        None if good => {
            if let Some(test) = call.success.as_ref().or(declared.success.as_ref())
                && !test.holds(answer, body.as_ref())
            {
                let what = "got an answer that is not a success of this connector";
                return Outcome::Failed(failure(Class::Unknown, "connector.unexpected_answer", what));
            }
            finished(name, call, context, answer, body, false)
        }
        None => match status {
            401 => unauthorized(),
            429 | 503 => throttled(&[]),
            408 | 500.. => unknown(),
            300..=399 => Outcome::Failed(redirected(name, answer)),
            _ => rejected(),
        },
    }
}

/// The body as rules and paths see it: JSON, or what XML is as JSON.
fn understood(answer: &Answer, form: Form, good: bool) -> Option<Value> {
    if form == Form::Base64 && good {
        return None;
    }
    let xml = || {
        let text = std::str::from_utf8(&answer.body).ok()?;
        xml_to_json(text.trim_start_matches('\u{feff}').trim_start()).ok()
    };
    if form == Form::Xml && good {
        return xml();
    }
    answer.json().or_else(|| if is_xml(answer) { xml() } else { None })
}

fn is_xml(answer: &Answer) -> bool {
    let essence = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/xml" | "text/xml") || essence.ends_with("+xml")
}

/// A redirect is a failure: following it would send the call, and maybe its credentials, elsewhere.
pub(crate) fn redirected(name: &str, answer: &Answer) -> Failure {
    let status = answer.status;
    let to = shorten(answer.header("location").unwrap_or("nowhere").split('?').next().unwrap_or_default());
    let what = format!("{name} was redirected (status {status}) to {to}; redirects are not followed: use that URL");
    Failure::new(Class::Permanent, "outbound.redirect", what).with_status(status)
}

/// An answer that was cut cannot be an output; the call itself has happened.
pub(crate) fn too_large(name: &str, status: u16, limit: usize) -> Failure {
    let what = format!(
        "the answer to {name} is longer than {limit} bytes; ask for less, or raise `limits.output_bytes` in millstream.yaml"
    );
    Failure::new(Class::Permanent, "outbound.response_too_large", what).with_status(status)
}

fn finished(
    name: &str,
    call: &Call,
    context: Context,
    answer: &Answer,
    body: Option<Value>,
    already_done: bool,
) -> Outcome {
    if answer.cut {
        return Outcome::Failed(too_large(name, answer.status, answer.body.len()));
    }
    let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
    let wanted = match call.answer {
        Form::Base64 => Some(Value::String(STANDARD.encode(&answer.body))),
        // Text that looks like JSON is text.
        Form::Text => Some(text()),
        // XML that was read for the rules alone is not JSON.
        Form::Json => body.filter(|_| !is_xml(answer) || answer.json().is_some()),
        Form::Xml => body,
    };
    let body = match wanted {
        Some(body) => body,
        None if answer.body.iter().all(u8::is_ascii_whitespace) => Value::Null,
        // An error page or a cut answer with a good status: what was asked for may have happened.
        None if !already_done => {
            let kind = if call.answer == Form::Xml { "XML" } else { "JSON" };
            let what = format!("{name} got a good status ({}) with a body that is not {kind}", answer.status);
            return Outcome::Failed(
                Failure::new(Class::Unknown, "connector.unexpected_answer", what).with_status(answer.status),
            );
        }
        None => text(),
    };
    if call.pages.is_some() {
        return Outcome::Done(body);
    }
    // Not by `json!`, which would copy the body through serde and respell its exponents.
    let mut response = Map::new();
    response.insert("status".into(), json!(answer.status));
    response.insert("headers".into(), answer.header_object());
    response.insert("body".into(), body.clone());
    let context = context.answered(Value::Object(response));
    match output(&call.output, &body, &context) {
        Ok(value) => Outcome::Done(value.unwrap_or(Value::Null)),
        Err(failure) => Outcome::Failed(failure),
    }
}

fn output(output_: &Output, body: &Value, context: &Context) -> Result<Option<Value>, Failure> {
    Ok(match output_ {
        Output::Body => Some(body.clone()),
        Output::Path(path) => Some(path.find(body).unwrap_or(Value::Null)),
        Output::Template(template) => template.render(context).map_err(|error| unrendered(&error))?,
        Output::Literal(value) => Some(value.clone()),
        Output::Object(fields) => {
            let mut object = Map::new();
            for (key, field) in fields {
                if let Some(value) = output(field, body, context)? {
                    object.insert(key.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        Output::List(items) => {
            let mut list = Vec::new();
            for item in items {
                list.extend(output(item, body, context)?);
            }
            Some(Value::Array(list))
        }
    })
}

fn wait_ms(wait: &Wait, answer: &Answer, body: Option<&Value>, now: Timestamp) -> Option<u64> {
    match wait {
        Wait::RetryAfter => retry_after(answer, now),
        Wait::Reset(name) => {
            let seconds: f64 = answer.header(name)?.trim().parse().ok()?;
            // Large numbers are a time since 1970, in seconds or, where that were thousands of years hence, milliseconds;
            // small ones are a span.
            let now = now.as_millisecond() as f64 / 1000.0;
            let until = if seconds > 1e11 { seconds / 1000.0 } else { seconds };
            milliseconds(if until > 1e9 { (until - now).max(0.0) } else { until })
        }
        Wait::Always(time) => u64::try_from(time.as_millis()).ok(),
        Wait::Path(path) => match path.find(body?)? {
            Value::Number(number) => milliseconds(number.as_f64()?),
            Value::String(text) => milliseconds(text.trim().parse().ok()?),
            _ => None,
        },
    }
}

/// What the `Retry-After` header asks for, ms: seconds or an HTTP date. Junk is no answer.
pub fn retry_after(answer: &Answer, now: Timestamp) -> Option<u64> {
    let text = answer.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return milliseconds(seconds);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let at = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64;
    Some(u64::try_from(at - now.as_millisecond()).unwrap_or(0))
}

fn milliseconds(seconds: f64) -> Option<u64> {
    // No less than was asked for. A cast saturates; what no one would wait for is cut by whoever keeps the time.
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0).ceil() as u64)
}

/// One line, at most 300 letters.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 300 {
        return line;
    }
    line.chars().take(300).chain(['…']).collect()
}
