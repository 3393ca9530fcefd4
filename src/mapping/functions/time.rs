//! Time, as the run sees it.

use std::borrow::Cow;

use serde_json::Value;

use super::{Args, Fault, Function, TEXT, example, string};

pub(super) const ROWS: &[Function] = &[Function {
    name: "utcNow",
    family: "Date",
    params: &[],
    result: TEXT,
    text: "The run's present in UTC with seven digits behind the second, as .NET's format `o`. It is the same at each repeat of a step.",
    example: example(r#"{{utcNow}}"#, r#"{}"#, r#""1970-01-01T00:00:00.0000000Z""#),
    infer: None,
    run: utc_now,
}];

fn utc_now(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let now = args.context.scope.now();
    // A timestamp within the second is never negative after rounding down to it.
    let ticks = now.as_nanosecond().rem_euclid(1_000_000_000) / 100;
    let second =
        jiff::Timestamp::from_second(i64::try_from(now.as_nanosecond().div_euclid(1_000_000_000)).unwrap_or(0));
    let second = second.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    string(format!("{}.{ticks:07}Z", second.strftime("%Y-%m-%dT%H:%M:%S")))
}
