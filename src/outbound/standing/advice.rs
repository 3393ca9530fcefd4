//! What a person does about a connection that does not work.

use super::super::LOGIN_NEEDED;
use super::super::client::{NO_LISTENER, NOT_KNOWN};
use super::{grant, place};
use crate::connector::{Auth, Connection, Connector, Failure, Grant, Kind};

/// What to do about it, most likely first.
pub(super) fn advice(failure: &Failure, connector: &Connector, connection: &Connection) -> Vec<String> {
    let name = &connection.name;
    let credentials: Vec<String> = connection.credentials.values().map(place).collect();
    let credentials = if credentials.is_empty() { "its credentials".to_owned() } else { credentials.join(", ") };
    let signed = match &connector.kind {
        Kind::Declared(declared) => matches!(declared.auth, Auth::Signed(_)),
        Kind::Native => false,
    };
    let lacks = lacks_a_right(failure);
    let told: &[&str] = match (failure.code.as_str(), failure.status) {
        ("outbound.connect", _) if failure.message.contains(NOT_KNOWN) => &[
            "the host's name is not known (DNS): look for a slip in the address in `settings` or `base_url`",
            "if it is a name of your own network, this machine must be able to look it up",
        ],
        ("outbound.connect", _) if failure.message.contains(NO_LISTENER) => {
            &["the machine is there, but nothing listens on this port: is the system up, and is the port right?"]
        }
        ("outbound.connect", _) if failure.message.contains("tls handshake") => {
            &["what listens there does not speak TLS: is it another port, or `http://`?"]
        }
        ("outbound.connect" | "outbound.timeout", _) => &[
            "nothing answers: a firewall, a proxy that is needed (`outbound.proxy` in millstream.yaml), or a wrong port",
        ],
        ("outbound.tls", _) => &[
            "the certificate does not hold: a private authority's goes into `outbound.ca_file` of millstream.yaml",
            "a name that does not fit: use the name that the certificate is for",
        ],
        ("outbound.blocked_address", _) => &["a private address is called only where `outbound.allow` has it"],
        ("outbound.redirect", _) => &["the system lives elsewhere now: set the address that it names"],
        _ if lacks => &[
            "the credentials are known, but may not do this: give the app or user the role or scope that the message names",
        ],
        ("connector.rejected", Some(404)) => &[
            "the host answers, but not at this path: the address in `settings` or `base_url` leads to another region, version or system",
        ],
        ("connector.unexpected_answer" | "outbound.bad_answer", _) => {
            &["something else answers there, as a proxy's or a login page does: is the address right?"]
        }
        ("connector.base_url" | "connector.token_url" | "connector.api_key", _) => {
            &["mend the settings in connections.yaml"]
        }
        _ => &[],
    };
    let mut advice: Vec<String> = told.iter().map(|line| (*line).to_owned()).collect();
    advice.extend(region(&failure.message));
    match failure.code.as_str() {
        "connector.unauthorized" if lacks => {}
        "smtp.auth" | "sql.auth" => {
            advice.push(format!("the user or the password is refused: set them anew ({credentials})"));
        }
        "smtp.settings" | "file.folder" | "file.denied" => {
            advice.push("mend the settings in connections.yaml, or what they name".to_owned());
        }
        "connector.unauthorized" if signed => {
            advice.push(format!("the signature is refused: check key, account and region ({credentials})"));
        }
        "connector.unauthorized" | "outbound.token_refused" => {
            advice.push(format!("the credentials are refused: set them anew ({credentials})"));
            advice.push("if they are right, the app is not consented to, or is of another tenant or region".to_owned());
        }
        LOGIN_NEEDED if grant(connector).is_some_and(Grant::needs_login) => {
            advice.push(format!("run `millstream connections login {name}`"));
        }
        "secret.missing" => advice.push("the message says where it is looked for".to_owned()),
        _ => {}
    }
    advice
}

/// True if the target knows who asks and says no all the same. Connectors hold a run for both, since a person mends either.
fn lacks_a_right(failure: &Failure) -> bool {
    if !matches!(failure.code.as_str(), "connector.unauthorized" | "connector.rejected") {
        return false;
    }
    let said = failure.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["missing_scope", "not authorized to", "access denied", "accessdenied"]) {
        return true;
    }
    // A signature that is wrong, or that no key is known for, is a 403 too with those who sign.
    let unknown = ["signature", "access key", "authenticate", "token", "credential", "expired", "clock"];
    let said = said.rsplit_once("(status 403)").map_or("", |(_, said)| said);
    // What we add ourselves is not the target's.
    let said = said.split_once("; mend the credentials of").map_or(said, |(said, _)| said);
    failure.status == Some(403) && !unknown.iter().any(|word| said.contains(word))
}

/// What to set where a target of AWS names the region that it expects, as in `the region 'us-east-1' is wrong; expecting
/// 'eu-central-1'`.
fn region(message: &str) -> Option<String> {
    if !message.contains("region") {
        return None;
    }
    let named = message.split_once("expecting '").and_then(|(_, rest)| rest.split_once('\''));
    match named {
        Some((region, _)) => Some(format!("the region is wrong: set `region: {region}` in `settings`")),
        None if message.contains("scoped to a valid region") => {
            Some("the region is wrong: set `region` in `settings` to the one that the address is in".to_owned())
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Class;

    #[test]
    fn who_is_known_and_may_not_is_told_from_who_is_not_known() {
        let lacks = |code: &str, status: u16, said: &str| {
            let what = format!("the test of x was refused its credentials (status {status}): {said}");
            lacks_a_right(&Failure::new(Class::Held, code, what).with_status(status))
        };
        for (status, said) in [
            (403, "Access Denied"),
            (400, "User: arn:aws:iam::1:user/a is not authorized to perform: sqs:listqueues on resource: x"),
            (403, "This request is not authorized to perform this operation using this permission."),
            (403, "The caller does not have permission"),
            (200, "missing_scope"),
            (403, ""),
        ] {
            assert!(lacks("connector.unauthorized", status, said), "{said}");
        }
        for (status, said) in [
            (403, "The request signature we calculated does not match the signature you provided."),
            (403, "The AWS Access Key Id you provided does not exist in our records."),
            (403, "The security token included in the request is invalid."),
            (
                403,
                "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly",
            ),
            (401, "unauthorized"),
            (200, "invalid_auth"),
        ] {
            assert!(!lacks("connector.unauthorized", status, said), "{said}");
        }
    }
}
