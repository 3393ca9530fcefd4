//! `millstream.yaml` in an editor.

use serde_json::{Value, json};

use super::steps::part;
use super::{Known, closed};

pub(super) fn schema(known: &Known<'_>) -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let flow =
        if known.flows.is_empty() { text() } else { json!({"anyOf": [{"enum": known.flows}, {"type": "string"}]}) };
    let on = json!({"type": "array", "items": {"enum": ["failed", "timed_out", "held", "cancelled", "rejected"]}});
    let outbound = part(&[("allow", texts()), ("proxy", text()), ("ca_file", text())], |key| {
        match key {
            "allow" => "private or loopback addresses that calls may reach all the same: `10.0.0.0/8`, `10.1.2.3:443`",
            "proxy" => "the only proxy that is used",
            _ => "further root certificates, PEM",
        }
        .to_owned()
    });
    let alerts = part(&[("flow", flow), ("on", on), ("per_minute", json!({"type": "integer", "minimum": 0}))], |key| {
        match key {
            "flow" => "the id of the flow that is told",
            "on" => "how runs must stand to be told of; failed, timed_out and held unless set",
            _ => "most alerts in a minute; 10 unless set",
        }
        .to_owned()
    });
    let tls = part(&[("cert", text()), ("key", text())], |key| format!("the {key} file, PEM"));
    let properties = part(
        &[
            ("listen", text()),
            ("admin", text()),
            ("admin_hosts", texts()),
            ("tls", closed(tls, &["cert", "key"])),
            ("public_url", text()),
            ("limits", limits()),
            ("trusted_proxies", texts()),
            ("env", texts()),
            ("outbound", closed(outbound, &[])),
            ("alerts", closed(alerts, &["flow"])),
            ("retention", retention()),
            ("vault", vault()),
        ],
        |key| {
            match key {
            "listen" => "address of the public listener; 127.0.0.1:8080 unless set",
            "admin" => "address of the admin listener; 127.0.0.1:8081 unless set",
            "admin_hosts" => "names under which the admin listener may be asked for, beside `localhost` and its addresses",
            "tls" => "serves HTTPS with these files; read again when they change",
            "public_url" => "how the world reaches the public listener, as in https://flows.example.com",
            "limits" => "how much is taken at once",
            "trusted_proxies" => "proxies in front of the public listener, as ranges: what they say of a client's address is believed",
            "env" => "names of environment variables that templates may read as `env.NAME`",
            "outbound" => "what calls may reach",
            "alerts" => "the flow that hears of runs that did not go well",
            "vault" => "where secrets are kept",
            _ => "how long runs are kept that have ended",
        }
        .to_owned()
        },
    );
    let mut schema = closed(properties, &[]);
    schema["type"] = json!(["object", "null"]);
    schema
}

fn limits() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let keys = [
        ("body_bytes", "largest request body, bytes; 10 MB unless set"),
        ("body_depth", "deepest JSON body, levels; 127 unless set"),
        ("header_seconds", "longest wait for a request's headers, seconds; 10 unless set"),
        ("body_seconds", "longest time for a whole body, seconds; 30 unless set"),
        ("idle_seconds", "how long an idle connection stays open, seconds; 60 unless set"),
        ("connections", "connections open at once; 10,000 unless set"),
        ("runs", "runs driven at once; 256 unless set"),
        ("queued_runs", "queued runs, beyond which requests are answered 503; 100,000 unless set"),
        ("rejected_runs", "rejected requests kept, the newest; 1,000 unless set"),
        ("output_bytes", "largest output of one step, bytes; 1 MB unless set"),
    ];
    let listed: Vec<(&str, Value)> = keys.iter().map(|(key, _)| (*key, count())).collect();
    let text = |key: &str| keys.iter().find(|(name, _)| *name == key).map_or("", |(_, text)| text).to_owned();
    closed(part(&listed, text), &[])
}

fn retention() -> Value {
    let age = json!({"type": ["string", "null"]});
    let bounds = part(
        &[
            ("age", age.clone()),
            ("count", json!({"type": ["integer", "null"]})),
            ("bytes", json!({"type": ["integer", "string", "null"]})),
        ],
        |key| {
            match key {
                "age" => "from the run's end on, as in `30d`",
                "count" => "so many runs, the newest",
                _ => "so many bytes of records, or `500MB`, `2GB`",
            }
            .to_owned()
        },
    );
    let aged =
        closed(part(&[("age", age)], |_| "as in `30d`; without one they stay until they are handled".to_owned()), &[]);
    let bounds = closed(bounds, &[]);
    let keys = part(
        &[
            ("succeeded", bounds.clone()),
            ("cancelled", bounds),
            ("failed", aged.clone()),
            ("held", aged.clone()),
            ("rejected", aged.clone()),
            ("handled", aged),
            ("sweep", json!({"type": "string"})),
        ],
        |key| {
            match key {
                "failed" => "also of those that timed out",
                "held" => "a run that has been held for so long is cancelled",
                "rejected" => "beside `limits.rejected_runs`",
                "handled" => "runs that somebody has dealt with, from then on; 30d unless set",
                "sweep" => "how often ages are looked at; 60s unless set",
                _ => "how much of them is kept, the newest",
            }
            .to_owned()
        },
    );
    closed(keys, &[])
}

fn vault() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let sources = part(&[("env", text.clone()), ("file", text)], |key| match key {
        "env" => "a variable of the process's environment".to_owned(),
        _ => "a file; relative paths start at the project folder".to_owned(),
    });
    let mut source = closed(sources, &[]);
    source["minProperties"] = json!(1);
    source["maxProperties"] = json!(1);
    let key = part(&[("key", source)], |_| "the key that secrets are under; the instance key unless set".to_owned());
    closed(key, &[])
}
