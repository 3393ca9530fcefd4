//! How calls prove who makes them, as a connector's file says it: which credentials, where they go, how a token is got.
//!
//! Credentials are named here; only `outbound` knows their values.

use std::time::Duration;

use serde_json::Value;

use super::select::Selection;
use crate::mapping::Template;

/// How calls prove who makes them.
#[derive(Debug)]
pub enum Auth {
    None,
    ApiKey {
        place: ApiKeyPlace,
        name: String,
        prefix: String,
        key: Secret,
    },
    Basic {
        username: Text,
        password: Text,
    },
    Bearer {
        token: Secret,
    },
    /// By a token that is got first, and used until it ends.
    Token(Box<Grant>),
    /// By a signature over each request.
    Signed(Signature),
}

impl Auth {
    /// How its token is got, if it has one.
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Auth::Token(grant) => Some(grant),
            Auth::None | Auth::ApiKey { .. } | Auth::Basic { .. } | Auth::Bearer { .. } | Auth::Signed(_) => None,
        }
    }
}

/// Where an API key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyPlace {
    Header,
    Query,
    /// Between the base URL's path and the action's.
    Path,
    /// A field of the first level of a JSON or form body.
    Body,
}

/// How a token is got, of whatever kind: one request, and where in its answer the token is.
#[derive(Debug)]
pub struct Grant {
    /// What the file says of it, to tell one from another.
    pub(crate) source: String,
    pub(crate) request: TokenRequest,
    pub(crate) proof: Grounds,
    pub(crate) token: Selection,
    /// Seconds.
    pub(crate) expires_in: Selection,
    /// Of a token whose answer does not say.
    pub(crate) lifetime: Duration,
    /// The header that carries the token, and what stands before it.
    pub(crate) header: String,
    pub(crate) prefix: String,
    /// How a person lets Millstream in, where that is needed.
    pub(crate) login: Option<Login>,
}

impl Grant {
    /// True if a person lets Millstream in with `millstream connections login`.
    pub fn needs_login(&self) -> bool {
        self.login.is_some()
    }

    /// True if what was got last is needed to get the next: such tokens are kept over restarts.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.proof, Grounds::Refresh { .. })
    }
}

/// The request that gets a token.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    pub method: &'static str,
    pub url: Template,
    pub query: Vec<(String, Text)>,
    pub headers: Vec<(String, Text)>,
    pub body: TokenBody,
    /// Client id and secret as basic auth.
    pub basic: Option<(Text, Text)>,
}

#[derive(Debug)]
pub(crate) enum TokenBody {
    None,
    Form(Vec<(String, Text)>),
    Json(Leaf),
}

/// JSON whose leaves are texts, credentials, or stand as they are.
#[derive(Debug)]
pub(crate) enum Leaf {
    Text(Text),
    Object(Vec<(String, Leaf)>),
    List(Vec<Leaf>),
    Literal(Value),
}

/// What the form of a token request carries beside its fields, made at the moment.
#[derive(Debug)]
pub(crate) enum Grounds {
    None,
    /// The refresh token that came last; before there was one, this credential, or that of a login.
    Refresh {
        first: Option<Secret>,
    },
    /// A signed statement (RFC 7523).
    Assertion(Assertion),
}

/// A JSON Web Token, signed with RS256.
#[derive(Debug)]
pub(crate) struct Assertion {
    pub claims: Vec<(String, Text)>,
    pub key: Secret,
    pub key_id: Option<Text>,
    pub lifetime: Duration,
}

/// Where a person lets Millstream in: authorization code with PKCE (RFC 6749 §4.1, RFC 7636).
#[derive(Debug)]
pub(crate) struct Login {
    pub authorize_url: Template,
    pub client_id: Text,
    pub scope: Option<Template>,
    pub extra: Vec<(String, Template)>,
}

/// A signature over each request.
#[derive(Debug)]
pub enum Signature {
    AzureSharedKeyLite { account: Text, key: Secret, service: AzureService },
    AwsSigV4(Box<Aws>),
    StandardWebhooks { secret: Secret },
}

/// AWS Signature Version 4.
#[derive(Debug)]
pub struct Aws {
    pub(crate) region: Text,
    pub(crate) service: Text,
    pub(crate) access_key_id: Secret,
    pub(crate) secret_access_key: Secret,
    pub(crate) session_token: Option<Secret>,
}

/// Azure Storage signs tables otherwise than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureService {
    Table,
    Blob,
    Queue,
}

/// The name of a credential of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// A text of the connector's file, or a credential.
#[derive(Debug)]
pub enum Text {
    Template(Template),
    Secret(Secret),
}

/// Where a connector's calls go: a text, or a URL that is a secret itself.
#[derive(Debug)]
pub(crate) enum Address {
    Template(Template),
    Secret(Secret),
}

impl Address {
    /// As it stands in the file: what people see where the URL itself is not known yet, or must not be shown.
    pub fn shown(&self) -> String {
        match self {
            Address::Template(template) => template.source().to_owned(),
            Address::Secret(Secret(name)) => format!("({name})"),
        }
    }
}
