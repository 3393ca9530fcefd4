//! What starts a flow, as checked.

mod path;

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};

pub use path::{PathPattern, Segment};

use super::schedule::Schedule;
use crate::connector::SecretSource;
use crate::mapping::{Condition, Template};
use crate::schema::{Schema, Shape, Types};

/// What starts a flow.
#[derive(Debug)]
pub struct Trigger {
    /// What `trigger.body` must be: a request's whole body, or the inputs of a run started by hand.
    pub schema: Option<Schema>,
    pub kind: TriggerKind,
}

/// How a flow is started.
#[derive(Debug)]
pub enum TriggerKind {
    Request(Box<RequestTrigger>),
    Manual(ManualTrigger),
    Schedule(Schedule),
}

/// A request to the flow's URL.
#[derive(Debug)]
pub struct RequestTrigger {
    /// In capitals; at least one.
    pub methods: Vec<String>,
    /// What must follow the key in the URL.
    pub path: Option<PathPattern>,
    /// Any one of these lets in; without one the key in the URL is enough.
    pub auth: Vec<Auth>,
    /// Unless all hold there is no run.
    pub conditions: Vec<Condition>,
    /// Gives the list of which each item is a run of its own.
    pub split_on: Option<Template>,
    pub dedupe: Option<Dedupe>,
}

/// A person, by the command line or the API.
#[derive(Debug, Default)]
pub struct ManualTrigger {
    /// As declared, in the order of the file.
    pub inputs: Vec<Input>,
}

/// One input of a run started by hand.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    pub name: String,
    /// As JSON Schema names it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// When two requests are the same.
#[derive(Debug)]
pub struct Dedupe {
    pub key: Vec<Template>,
    pub window: Duration,
}

/// One way to be let in, beside the key in the URL. All that it names is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Where the client must be; empty is anywhere.
    pub ip: Vec<IpNet>,
    pub proof: Option<Proof>,
}

/// What a caller shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    Signature { scheme: Scheme, secret: SecretSource },
    Basic { username: String, password: SecretSource },
    Bearer(SecretSource),
}

/// How a body is signed, always with HMAC-SHA256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// `X-Hub-Signature-256`.
    GitHub,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    StandardWebhooks { tolerance: Duration },
    /// `Stripe-Signature`.
    Stripe { tolerance: Duration },
    /// A header that holds the signature of the body, after this prefix.
    Plain { header: String, encoding: Encoding, prefix: String },
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

impl Default for RequestTrigger {
    fn default() -> RequestTrigger {
        RequestTrigger {
            methods: vec!["POST".to_owned()],
            path: None,
            auth: Vec::new(),
            conditions: Vec::new(),
            split_on: None,
            dedupe: None,
        }
    }
}

/// Methods whose requests usually have no body, which the schema is then not asked about.
pub const BODYLESS: [&str; 3] = ["GET", "HEAD", "DELETE"];

impl Trigger {
    /// The request that starts the flow, if it has a URL.
    pub fn request(&self) -> Option<&RequestTrigger> {
        match &self.kind {
            TriggerKind::Request(request) => Some(request),
            TriggerKind::Manual(_) | TriggerKind::Schedule(_) => None,
        }
    }

    /// When the flow starts by itself, if it does.
    pub fn schedule(&self) -> Option<&Schedule> {
        match &self.kind {
            TriggerKind::Schedule(schedule) => Some(schedule),
            TriggerKind::Request(_) | TriggerKind::Manual(_) => None,
        }
    }

    /// Why the flow has no URL, for a person; `None` if it has one.
    pub fn no_url(&self) -> Option<&'static str> {
        match &self.kind {
            TriggerKind::Request(_) => None,
            TriggerKind::Manual(_) => Some("its trigger is `manual`: start it with `millstream run`"),
            TriggerKind::Schedule(_) => {
                Some("its trigger is `schedule`: it starts by itself, or with `millstream run`")
            }
        }
    }

    /// Its `type`.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            TriggerKind::Request(_) => "request",
            TriggerKind::Manual(_) => "manual",
            TriggerKind::Schedule(_) => "schedule",
        }
    }

    /// Fills in the defaults of inputs that a run started by hand was not given.
    pub fn fill(&self, body: Value) -> Value {
        let TriggerKind::Manual(manual) = &self.kind else { return body };
        if manual.inputs.is_empty() {
            return body;
        }
        let mut given = match body {
            Value::Null => Map::new(),
            Value::Object(given) => given,
            other => return other,
        };
        for input in &manual.inputs {
            if let Some(default) = &input.default
                && !given.contains_key(&input.name)
            {
                given.insert(input.name.clone(), default.clone());
            }
        }
        Value::Object(given)
    }

    /// What a run can be given by name: as declared, or as the schema has it.
    pub fn inputs(&self) -> Vec<Input> {
        match &self.kind {
            TriggerKind::Manual(manual) if !manual.inputs.is_empty() => manual.inputs.clone(),
            TriggerKind::Request(_) | TriggerKind::Manual(_) | TriggerKind::Schedule(_) => {
                self.schema.as_ref().map(|schema| of_shape(schema.shape())).unwrap_or_default()
            }
        }
    }
}

fn of_shape(shape: &Shape) -> Vec<Input> {
    let input = |(name, property): (&String, &Shape)| {
        let kind = match property.types.without(Types::NULL) {
            Types::STRING => "string",
            Types::NUMBER => "number",
            Types::BOOLEAN => "boolean",
            Types::ARRAY => "array",
            Types::OBJECT => "object",
            _ => return None,
        };
        let required = shape.required.contains(name);
        Some(Input { name: name.clone(), kind, required, default: None, description: None })
    };
    shape.properties.iter().filter_map(input).collect()
}
