//! Where a connector's calls go: the connection's own address, the file's template, or a URL that is a secret itself.

use serde_json::{Value, json};
use url::Url;

use super::auth::{Address, Secret};
use super::declared::Declared;
use super::{Action, Class, Connection, Connector, Context, Failure, Kind, prepare};

/// Stands for an address that is not known yet, or must not be shown.
const NOWHERE: &str = "http://base.invalid";

/// The credential that is the whole base URL, unless the connection has an address of its own.
pub(crate) fn secret_base<'d>(declared: &'d Declared, connection: Option<&Connection>) -> Option<&'d Secret> {
    match &declared.base_url {
        Address::Secret(secret) if connection.is_none_or(|connection| connection.base_url.is_none()) => Some(secret),
        Address::Secret(_) | Address::Template(_) => None,
    }
}

/// Where the connector's calls go: what outbound found to be the base, the connection's override, or the file's.
pub(crate) fn base_url(
    declared: &Declared,
    connection: Option<&Connection>,
    context: &Context,
) -> Result<Url, Failure> {
    if let Some(base) = context.base() {
        return Ok(base.clone());
    }
    let name = connection.map_or("of the connector", |connection| connection.name.as_str());
    let text = match (connection.and_then(|connection| connection.base_url.clone()), &declared.base_url) {
        (Some(text), _) => text,
        (None, Address::Template(template)) => context.text(template)?.unwrap_or_default(),
        (None, Address::Secret(Secret(secret))) => {
            let what =
                format!("the base URL of the connection `{name}` is its credential `{secret}`, which is not there");
            return Err(Failure::new(Class::Held, "connector.base_url", what));
        }
    };
    parsed(&text, &format!("the base URL `{text}` (connection {name})"))
}

/// The base URL of a credential's text; no message shows it.
pub(crate) fn of_secret(text: &str, connection: &Connection, secret: &Secret) -> Result<Url, Failure> {
    parsed(text.trim(), &format!("the credential `{}` of the connection `{}`", secret.0, connection.name))
}

fn parsed(text: &str, named: &str) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::new(Class::Held, "connector.base_url", format!("{named} {why}; mend the connection's settings"))
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name; credentials belong in `credentials`"));
    }
    // `{{ settings.org_url }}/api` with an org_url that ends in a slash.
    while url.path().contains("//") {
        let path = url.path().replace("//", "/");
        url.set_path(&path);
    }
    Ok(url)
}

/// The request as a person reads it before it is sent. An address that is a secret, or that a token's answer will name,
/// stands there as it is written in the file.
pub(crate) fn preview(
    connector: &Connector,
    action: &Action,
    connection: Option<&Connection>,
    context: Context,
) -> Result<Value, Failure> {
    let Kind::Declared(declared) = &connector.kind else {
        return Ok(prepare(connector, action, connection, &context)?.preview());
    };
    let own = connection.is_some_and(|connection| connection.base_url.is_some());
    let later = match &declared.base_url {
        _ if own => false,
        Address::Secret(_) => true,
        Address::Template(template) => {
            template.paths().iter().any(|path| path.first().is_some_and(|key| key.as_str() == "token"))
        }
    };
    if !later {
        return Ok(prepare(connector, action, connection, &context)?.preview());
    }
    let mut context = context;
    context.set_base(Url::parse(NOWHERE).expect("a constant that is a URL"));
    let mut preview = prepare(connector, action, connection, &context)?.preview();
    let path = preview.get("url").and_then(Value::as_str).and_then(|url| url.strip_prefix(NOWHERE));
    let path = path.filter(|path| *path != "/").unwrap_or_default();
    preview["url"] = json!(format!("{}{path}", declared.base_url.shown()));
    Ok(preview)
}
