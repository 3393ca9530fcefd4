//! The quick form of fuzzing: seeds, and seeds with random changes, for some seconds a target. `tests/fuzz` has the
//! thorough form, which libFuzzer guides.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::time::{Duration, Instant, SystemTime};

use crate::app::Random;

#[path = "../../fuzz/seeds.rs"]
mod seeds;
#[path = "../../fuzz/targets.rs"]
mod targets;

/// Most CPU time that one input may take. The long form allows 1 s; without optimisation all is several times slower.
const MAX_MS: u64 = 5_000;
/// Pieces that formats give a meaning.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{#each ",
    "{{/each}}",
    "(((((((((",
    "[[[[[[[[",
    "]]]]",
    "{\"a\":",
    "}",
    ": ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "? ",
    "|\n",
    "\n",
    "\t",
    "\"",
    "'",
    "\\",
    "\0",
    "\r\n",
    "%",
    "\u{feff}",
    "ä",
    "\u{202e}",
    "null",
    "true",
    "-0",
    "1e999999999",
    "1e400",
    "9223372036854775808",
    "-1",
    "99999999999999999999999999",
    "0.1000000000000000055",
    "2026-02-30T25:00:00Z",
    "$ref",
    "#/$defs/t",
    "$..",
    "[?@",
    "*/1",
    "@",
    "..",
    "\\ud800",
    "$serde_json::private::Number",
];

#[test]
fn whatever_comes_in_nothing_panics_or_takes_long() {
    let seconds: f64 = std::env::var("MILLSTREAM_FUZZ_SECONDS").map_or(1.0, |seconds| seconds.parse().unwrap());
    let only = std::env::var("MILLSTREAM_FUZZ_TARGET").ok();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    for target in targets::ALL.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        let mut random = Random(seed);
        let seeds = seeds::of(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        // A thread of its own: its panics are kept, and its stack is that of a server's thread.
        let target = *target;
        let work = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
            let end = Instant::now() + Duration::from_secs_f64(seconds);
            let mut count = 0;
            for input in &seeds {
                targets::run(target, input, MAX_MS).map_err(|fault| (fault, input.clone()))?;
            }
            while Instant::now() < end {
                let input = changed(&seeds, &mut random);
                targets::run(target, &input, MAX_MS).map_err(|fault| (fault, input))?;
                count += 1;
            }
            Ok::<_, (String, Vec<u8>)>((seeds.len(), count))
        });
        match work.unwrap().join().unwrap() {
            Ok((seeds, count)) => println!("{}: {seeds} seeds, {count} changed inputs", target.name),
            Err((fault, input)) => {
                let shown = String::from_utf8_lossy(&input).into_owned();
                panic!("{}: {fault}\nput this into fuzz/found/{0}: {input:?}\n{shown}", target.name);
            }
        }
    }
}

/// One of the seeds with a few changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random, len: usize| usize::try_from(random.below(len.max(1) as u64)).unwrap();
    let mut input = seeds[pick(random, seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = pick(random, input.len() + 1);
        let end = (at + 1 + pick(random, 40)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < end => drop(input.drain(at..end)),
            2 => {
                let copy = input[at..end].to_vec();
                let copies = copy.repeat(1 + pick(random, 8));
                input.splice(at..at, copies);
            }
            3 => {
                let other = &seeds[pick(random, seeds.len())];
                let from = pick(random, other.len());
                let to = (from + 1 + pick(random, 200)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            4 => {
                let piece = PIECES[pick(random, PIECES.len())].repeat(1 + pick(random, 40));
                input.splice(at..at, piece.into_bytes());
            }
            _ => {
                let piece = PIECES[pick(random, PIECES.len())];
                input.splice(at..end, piece.bytes());
            }
        }
        input.truncate(64 * 1024);
    }
    input
}
