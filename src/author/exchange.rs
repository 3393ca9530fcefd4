//! One request that works, and maybe its answer, become a connector of one's own: settings, auth, one action.
//!
//! What looks like a secret is never written: its place becomes a credential of the connection.

use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::infer;
use crate::flow::snake_case;
use crate::mapping::parse_json;

mod address;
mod opaque;
mod secrets;

/// A request as it was sent.
#[derive(Debug)]
pub struct Exchange {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// The body of its answer, if it is known and JSON.
    pub answer: Option<Value>,
}

/// What it carried.
#[derive(Debug, PartialEq)]
pub enum Body {
    None,
    Json(Value),
    Form(Vec<(String, String)>),
    Multipart(Vec<(String, Result<String, File>)>),
    Text(String),
}

/// A file of a form; its content is not read.
#[derive(Debug, PartialEq)]
pub struct File {
    pub name: String,
    pub content_type: Option<String>,
}

/// A connector's file, and what is left to do.
#[derive(Debug)]
pub struct Described {
    /// As YAML says it.
    pub file: Value,
    pub action: String,
    /// What its author should know.
    pub notes: Vec<String>,
}

impl File {
    /// `report.csv;type=text/csv`, as curl has it.
    pub fn of(text: &str) -> File {
        let mut parts = text.split(';');
        let path = parts.next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let content_type = parts.find_map(|part| part.trim().strip_prefix("type=").map(str::to_owned));
        File { name, content_type }
    }
}

impl Body {
    /// What a text is by its media type, or else by its look.
    pub fn of(text: &str, usual: &str, headers: &[(String, String)]) -> Body {
        let said = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = said.map_or(usual, |(_, value)| value.split(';').next().unwrap_or_default().trim());
        let json = kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json");
        // Documentation leaves the header out at times.
        let looks = text.trim_start().starts_with(['{', '[']);
        match parse_json(text.as_bytes()) {
            Ok(value) if json || looks => Body::Json(value),
            _ if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") => {
                Body::Form(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
            }
            _ => Body::Text(text.to_owned()),
        }
    }
}

impl Exchange {
    /// Reads `{"request": {"method", "url", "headers", "body"}, "response": {"body"}}`.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn of_json(value: &Value) -> Result<Exchange, String> {
        let request = value.get("request").unwrap_or(value);
        let text = |key: &str| request.get(key).and_then(Value::as_str).map(str::to_owned);
        let url = text("url").ok_or("`request.url` is missing; the file is {\"request\": {\"method\", \"url\", \"headers\", \"body\"}, \"response\": {\"body\"}}")?;
        let headers = request.get("headers").and_then(Value::as_object).into_iter().flatten();
        let headers: Vec<(String, String)> =
            headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        let body = match request.get("body") {
            None | Some(Value::Null) => Body::None,
            Some(Value::String(text)) => Body::of(text, "", &headers),
            Some(other) => Body::Json(other.clone()),
        };
        let usual = if body == Body::None { "GET" } else { "POST" };
        let method = text("method").map_or(usual.to_owned(), |method| method.to_ascii_uppercase());
        let answer = value.pointer("/response/body").cloned();
        let answer = match answer {
            Some(Value::String(text)) => parse_json(text.as_bytes()).ok(),
            other => other,
        };
        Ok(Exchange { method, url, headers, body, answer })
    }

    /// The connector `name` with one action, called `action` or by what it does.
    ///
    /// # Errors
    /// A sentence where the request cannot be one of a connector: the URL is none, or the method is not of those.
    pub fn describe(&self, name: &str, action: Option<&str>) -> Result<Described, String> {
        let url = Url::parse(&self.url).map_err(|error| format!("the URL is none: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the URL is neither http nor https".into());
        }
        let method = self.method.to_ascii_lowercase();
        if !["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
            return Err(format!("the method is one of GET, POST, PUT, PATCH and DELETE, not {}", self.method));
        }
        let mut draft = Drafting::default();
        let auth = draft.auth(self, &url);
        let address = draft.address(&url, auth.is_some());
        let query = draft.query(&url, &address);
        let headers = draft.headers(self);
        let mut request = Map::new();
        request.insert(method.clone(), json!(address.path));
        if !query.is_empty() {
            request.insert("query".into(), Value::Object(query));
        }
        let (own, shared): (Map<String, Value>, Map<String, Value>) =
            headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
        let keyed = !own.is_empty();
        if keyed {
            request.insert("headers".into(), Value::Object(own));
        }
        draft.body(&self.body, &self.headers, &mut request);

        let action = action.map_or_else(|| address::named(&method, &address.path), str::to_owned);
        let safe = keyed || method != "post";
        let mut made = Map::new();
        made.insert("description".into(), json!(format!("{} {}", self.method, address.shown)));
        made.insert("input".into(), draft.input());
        made.insert("request".into(), Value::Object(request));
        made.insert("repeat".into(), json!(if safe { "safe" } else { "unsafe" }));
        if !safe {
            draft.notes.push(format!(
                "`{action}` says `repeat: unsafe`, so a call that may have happened is held for a person; say `safe` if twice does no harm"
            ));
        }
        if let Some(answer) = &self.answer {
            made.insert("output_schema".into(), infer::schema(std::slice::from_ref(answer)));
        }
        // A host may be as secret as a path.
        let host = url.host_str().filter(|_| !address.is_secret()).unwrap_or(name);
        let mut file = json!({"connector": name, "version": 1, "description": format!("Calls of {host}")});
        for (key, value) in address.keys(&url) {
            file[key] = value;
        }
        if let Some(auth) = auth {
            file["auth"] = auth;
        }
        if !shared.is_empty() {
            file["headers"] = Value::Object(shared);
        }
        let mut actions = Map::new();
        actions.insert(action.clone(), Value::Object(made));
        file["actions"] = Value::Object(actions);
        Ok(Described { file, action, notes: draft.notes })
    }
}

/// What has been found of the action so far.
#[derive(Default)]
struct Drafting {
    properties: Map<String, Value>,
    required: Vec<String>,
    notes: Vec<String>,
    /// Parameters of the query that are credentials.
    hidden: Vec<String>,
}

impl Drafting {
    /// A new input of this name, or of one like it that is free.
    fn input_named(&mut self, name: &str, property: Value) -> String {
        let base = snake_case(name).filter(|name| !name.is_empty()).unwrap_or_else(|| "value".to_owned());
        let mut free = base.clone();
        let mut number = 2;
        while self.properties.contains_key(&free) {
            free = format!("{base}_{number}");
            number += 1;
        }
        self.properties.insert(free.clone(), property);
        free
    }

    fn input(&mut self) -> Value {
        let mut input = json!({"type": "object"});
        if !self.required.is_empty() {
            input["required"] = json!(self.required);
        }
        input["additionalProperties"] = json!(false);
        input["properties"] = Value::Object(std::mem::take(&mut self.properties));
        input
    }

    fn body(&mut self, body: &Body, headers: &[(String, String)], request: &mut Map<String, Value>) {
        match body {
            Body::None => {}
            Body::Json(value) => {
                let mapping = match value {
                    Value::Object(_) => self.leaves("", value),
                    other => {
                        let name = self.input_named("items", infer::schema(std::slice::from_ref(other)));
                        self.required.push(name.clone());
                        json!(format!("{{{{ input.{name} }}}}"))
                    }
                };
                request.insert("json".into(), mapping);
            }
            Body::Form(fields) => {
                let mut form = Map::new();
                for (name, _) in fields {
                    if !form.contains_key(name) && self.is_sayable(name) {
                        let input = self.input_named(name, json!({"type": "string"}));
                        form.insert(name.clone(), json!(format!("{{{{optional input.{input}}}}}")));
                    }
                }
                request.insert("form".into(), Value::Object(form));
            }
            Body::Multipart(fields) => {
                let mut form = Map::new();
                for (name, field) in fields {
                    if !self.is_sayable(name) {
                        continue;
                    }
                    let value = match field {
                        Ok(_) => {
                            let input = self.input_named(name, json!({"type": "string"}));
                            json!(format!("{{{{optional input.{input}}}}}"))
                        }
                        Err(file) => {
                            let filename = self
                                .input_named(&format!("{name}_name"), json!({"type": "string", "default": file.name}));
                            let text = json!({"type": "string", "description": "The file as base64"});
                            let content = self.input_named(name, text);
                            self.required.push(content.clone());
                            let mut part = json!({"filename": format!("{{{{ input.{filename} }}}}")});
                            if let Some(content_type) = &file.content_type {
                                part["content_type"] = json!(content_type);
                            }
                            part["base64"] = json!(format!("{{{{ input.{content} }}}}"));
                            part
                        }
                    };
                    form.insert(name.clone(), value);
                }
                request.insert("multipart".into(), Value::Object(form));
            }
            Body::Text(_) => {
                let input = self.input_named("text", json!({"type": "string"}));
                self.required.push(input.clone());
                request.insert("body".into(), json!(format!("{{{{ input.{input} }}}}")));
                let said = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                if let Some((_, content_type)) = said {
                    request.insert("content_type".into(), json!(content_type));
                }
            }
        }
    }

    /// False for a field whose name would be read as a template; it is left out.
    fn is_sayable(&mut self, name: &str) -> bool {
        let sayable = !name.contains("{{");
        if !sayable {
            self.notes.push("a field whose name holds `{{` was left out".to_owned());
        }
        sayable
    }

    /// Objects stay as they are; each leaf, and each list, becomes an input.
    fn leaves(&mut self, at: &str, value: &Value) -> Value {
        match value {
            // Only values can be templates: an object with such a key is given whole.
            Value::Object(fields) if !fields.is_empty() && !fields.keys().any(|key| key.contains("{{")) => {
                let fields = fields.iter().map(|(key, value)| (key.clone(), self.leaves(key, value)));
                Value::Object(fields.collect())
            }
            leaf => {
                let input = self.input_named(at, infer::schema(std::slice::from_ref(leaf)));
                json!(format!("{{{{optional input.{input}}}}}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
