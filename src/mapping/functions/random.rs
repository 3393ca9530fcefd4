//! What is random, and yet the same at each repeat of a step: drawn from the run's seed, the leaf and the draw's number.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Args, Fault, Function, NUMBER, TEXT, example, maybe, one, string};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "rand",
        family: "Math",
        params: &[one("from", NUMBER), one("to", NUMBER)],
        result: NUMBER,
        text: "A random whole number from `from` up to, not including, `to`. A repeat of the step draws the same.",
        example: example(r#"{{rand 5 6}}"#, "{}", "5"),
        infer: None,
        run: rand,
    },
    Function {
        name: "guid",
        family: "Text",
        params: &[maybe("format", TEXT)],
        result: TEXT,
        text: "A random GUID. A repeat of the step draws the same. The format is `D` (with hyphens, the usual one), `N` (digits only), `B` (in braces), `P` (in brackets) or `X` (as in C).",
        example: example(r#"{{length (guid "N")}}"#, "{}", "32"),
        infer: None,
        run: guid,
    },
];

fn draw(args: Args<'_>) -> [u8; 32] {
    let meter = args.context.meter();
    let number = meter.draws.get();
    meter.draws.set(number + 1);
    let mut hash = Sha256::new();
    hash.update(args.context.scope.seed().to_be_bytes());
    hash.update(number.to_be_bytes());
    // The length sets the two texts apart.
    hash.update((meter.leaf.pointer.len() as u64).to_be_bytes());
    hash.update(meter.leaf.pointer);
    hash.update(meter.leaf.source);
    hash.finalize().into()
}

fn rand(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (from, to) = (args.count(0)?, args.count(1)?);
    let span = i128::from(to) - i128::from(from);
    if span < 0 {
        return Err(args.wrong(1, "is less than where the range starts"));
    }
    // Of an empty range .NET gives the start. 64 random bits more than the range leave no bias worth the name.
    let drawn = u128::from_be_bytes(*draw(args).first_chunk().expect("a hash has 32 bytes"));
    let offset = drawn.checked_rem(span.unsigned_abs()).unwrap_or(0);
    let number = i128::from(from) + i128::try_from(offset).unwrap_or(0);
    Ok(Cow::Owned(Value::from(i64::try_from(number).unwrap_or(from))))
}

fn guid(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let format = args.given_text(0)?;
    let bytes = *draw(args).first_chunk::<16>().expect("a hash has 32 bytes");
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let upper = format.as_deref().unwrap_or("D").to_ascii_uppercase();
    string(match upper.as_str() {
        "" | "D" => id.hyphenated().to_string(),
        "N" => id.simple().to_string(),
        "B" => format!("{{{}}}", id.hyphenated()),
        "P" => format!("({})", id.hyphenated()),
        "X" => {
            let (a, b, c, rest) = id.as_fields();
            let rest: Vec<String> = rest.iter().map(|byte| format!("0x{byte:02x}")).collect();
            format!("{{0x{a:08x},0x{b:04x},0x{c:04x},{{{}}}}}", rest.join(","))
        }
        _ => return Err(args.wrong(0, "is no format of a GUID; they are D, N, B, P and X")),
    })
}
