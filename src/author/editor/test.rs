//! A test file in an editor.

use serde_json::{Map, Value, json};

use super::steps::part;
use super::{Known, closed, duration, told};

/// The keys of each place, explained.
const KEYS: &[(&str, &[(&str, &str)])] = &[
    (
        "case",
        &[
            ("name", "what it shows, in words; no other case of the file has it"),
            ("flow", "another flow than the file's"),
            ("now", "what the clock shows at the beginning, with its offset"),
            ("seed", "a whole number that gives the run's id, and with it keys and what is random"),
            ("run_id", "the run's id, where it matters"),
            ("env", "what templates read as `env.NAME`"),
            ("request", "what starts a flow with a URL, or one that is started by hand"),
            ("tick", "what starts a flow with a schedule: a time at which it has a tick"),
            ("mocks", "by step: what each call gets instead of being made; one mock, or a list with one for each call"),
            ("resume", "POSTs for steps that wait, by step"),
            ("expect", "what must come of it"),
            ("snapshot", "true: the whole history must be as in the file beside this one, which `--bless` writes"),
        ],
    ),
    (
        "request",
        &[
            ("method", "the first that the flow takes unless set"),
            ("path", "what follows the key in the URL"),
            ("query", "by name"),
            ("headers", "by name, in any case"),
            ("body", "any JSON; of a flow started by hand, its inputs"),
            ("body_file", "a JSON file with the body; the path starts at this file's folder"),
        ],
    ),
    (
        "mock",
        &[
            ("output", "the step's output"),
            ("status", "an HTTP answer instead, judged as a real one would be"),
            ("headers", "of that answer"),
            ("body", "of that answer"),
            ("request", "what the connector must have sent: a part of method, url, headers, body"),
            ("error", "a failure instead"),
            ("delay", "how long the call takes"),
        ],
    ),
    (
        "error",
        &[
            ("code", "`run.mocked` unless set"),
            ("message", "for people"),
            ("status", "an HTTP status, if it had one"),
            ("class", "`permanent` unless set"),
        ],
    ),
    (
        "resume",
        &[
            ("body", "any JSON"),
            ("query", "by name"),
            ("headers", "by name"),
            ("after", "how long after the step began to wait; at once unless set"),
        ],
    ),
    (
        "expect",
        &[
            ("status", "of the run, or `skipped`, or `rejected`"),
            ("response", "what the caller gets"),
            ("steps", "by id"),
            ("order", "ids in the order in which they begin; others may stand between"),
            ("vars", "variables of the run at its end"),
            ("error", "the run's, or its code alone"),
            ("dedupe_key", "the parts of the key"),
            ("took", "from beginning to end on the case's clock"),
            ("runs", "of a request that is split: for each run what is expected of it"),
            ("calls", "by id of a step with `call`: what is expected of the run it began"),
        ],
    ),
    (
        "step",
        &[
            ("status", "how the step ended"),
            ("input", "what a call was given, rendered"),
            ("output", "what it gave"),
            ("error", "as for the run"),
            ("attempts", "how many calls it took"),
            ("times", "how often the step ran"),
            ("branch", "of `if` and `switch`: which was taken"),
        ],
    ),
    ("response", &[("status", "202 where no step answers"), ("headers", "by name"), ("body", "any JSON")]),
];

pub(super) fn schema(known: &Known<'_>) -> Value {
    let flow = if known.flows.is_empty() {
        json!({"type": "string"})
    } else {
        json!({"anyOf": [{"enum": known.flows}, {"type": "string"}]})
    };
    let count = || json!({"type": "integer", "minimum": 0});
    let any = || json!({});
    let map = || json!({"type": "object"});
    let text = || json!({"type": "string"});
    let refers = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let several = |name: &str| json!({"anyOf": [refers(name), {"type": "array", "items": refers(name)}]});
    let by_name = |schema: Value| json!({"type": "object", "additionalProperties": schema});
    let run = json!([
        "succeeded",
        "failed",
        "timed_out",
        "held",
        "waiting",
        "running",
        "cancelled",
        "skipped",
        "rejected",
        "queued"
    ]);
    let step_status = json!([
        "succeeded",
        "failed",
        "timed_out",
        "skipped",
        "held",
        "waiting",
        "running",
        "cancelled",
        "not_reached"
    ]);
    let class = json!(["retry", "throttled", "unknown", "held", "permanent"]);

    let of = |place: &'static str, schemas: &[(&str, Value)]| -> Map<String, Value> {
        let keys = KEYS.iter().find(|(name, _)| *name == place).map_or(&[][..], |(_, keys)| keys);
        let all: Vec<(&str, Value)> = keys
            .iter()
            .map(|(key, _)| {
                (*key, schemas.iter().find(|(name, _)| name == key).map_or_else(any, |(_, schema)| schema.clone()))
            })
            .collect();
        part(&all, |key| keys.iter().find(|(name, _)| *name == key).map_or("", |(_, text)| text).to_owned())
    };
    let step =
        closed(of("step", &[("status", json!({"enum": step_status})), ("attempts", count()), ("times", count())]), &[]);
    let one_step = json!({"anyOf": [{"enum": step_status}, step]});
    let expect = of(
        "expect",
        &[
            ("status", json!({"enum": run})),
            ("response", closed(of("response", &[]), &[])),
            ("steps", by_name(json!({"anyOf": [one_step, {"type": "array", "items": one_step}]}))),
            ("order", json!({"type": "array", "items": {"type": "string"}})),
            ("vars", map()),
            ("took", text()),
            ("calls", by_name(several("expect"))),
            ("runs", json!({"type": "array", "items": refers("expect")})),
        ],
    );
    let error = closed(of("error", &[("code", text()), ("message", text()), ("class", json!({"enum": class}))]), &[]);
    let mock = closed(of("mock", &[("error", error), ("delay", duration()), ("request", map())]), &[]);
    let case = of(
        "case",
        &[
            ("name", text()),
            ("flow", flow.clone()),
            ("now", text()),
            ("env", map()),
            (
                "request",
                closed(
                    of(
                        "request",
                        &[
                            ("method", text()),
                            ("path", text()),
                            ("query", map()),
                            ("headers", map()),
                            ("body_file", text()),
                        ],
                    ),
                    &[],
                ),
            ),
            ("tick", text()),
            ("mocks", by_name(several("mock"))),
            ("resume", by_name(several("resume"))),
            ("expect", refers("expect")),
            ("snapshot", json!({"type": "boolean"})),
        ],
    );
    let mut file = Map::new();
    for key in ["flow", "now", "seed", "env", "mocks"] {
        file.extend(case.get(key).map(|schema| (key.to_owned(), schema.clone())));
    }
    if let Some(schema) = file.get_mut("flow") {
        *schema = told("id of the flow that the cases are of; a case may name another", flow);
    }
    let cases = json!({"type": "array", "minItems": 1, "items": closed(case, &["name"])});
    file.insert("cases".to_owned(), told("the list of cases, at least one", cases));
    let mut schema = closed(file, &["cases"]);
    schema["definitions"] =
        json!({"expect": closed(expect, &[]), "mock": mock, "resume": closed(of("resume", &[]), &[])});
    schema
}
