//! Runs the handlebars parser where it can do no harm: on a bounded text, with enough stack, behind a panic barrier.
//!
//! The parser recurses once for each open bracket or block, and a stack overflow ends the process (its grammar library
//! stops itself in time, but the tree is built and dropped by recursion too). Nesting can't be
//! told apart cheaply from brackets inside quoted text, so the brackets are only counted: few need no care; more get
//! a thread of their own whose stack is sized for the worst that so many can do; very many are refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::ParseError;

/// Longest text that may hold an expression, in bytes. Texts without `{{` have no limit here.
pub(super) const MAX_TEXT: usize = 64 * 1024;
/// Most `{{` in one text. The parser's time grows with their number times the length of the text.
const MAX_TAGS: usize = 1000;
/// Most brackets and blocks in one text.
const MAX_OPENINGS: usize = 4096;
/// As many levels as fit any thread's stack with room to spare.
const MAX_INLINE: usize = 64;
/// Measured: a bracketed call, the costliest level, takes 2.5 KB to parse, build and drop with little optimisation.
const STACK_PER_LEVEL: usize = 16 * 1024;

/// Calls `work` on `text`, on a stack that `text` can't overflow.
pub(super) fn guarded<T: Send>(
    text: &str,
    work: impl Fn(&str) -> Result<T, ParseError> + Sync,
) -> Result<T, ParseError> {
    if text.len() > MAX_TEXT {
        return Err(too_much(format!("a template has at most {MAX_TEXT} bytes; this one has {}", text.len())));
    }
    let tags = text.matches("{{").count();
    if tags > MAX_TAGS {
        return Err(too_much(format!("a template has at most {MAX_TAGS} `{{{{`; this one has {tags}")));
    }
    let openings = openings(text);
    if openings > MAX_OPENINGS {
        return Err(too_much(format!(
            "a template has at most {MAX_OPENINGS} brackets and blocks; this one {openings}"
        )));
    }
    let caught = || catch_unwind(AssertUnwindSafe(|| work(text)));
    let outcome = if openings <= MAX_INLINE {
        caught()
    } else {
        let stack = 1024 * 1024 + openings * STACK_PER_LEVEL;
        thread::scope(|scope| match thread::Builder::new().stack_size(stack).spawn_scoped(scope, caught) {
            Ok(thread) => thread.join().and_then(|inner| inner),
            Err(_) => Ok(Err(too_much("there is not enough memory to read so many brackets".to_owned()))),
        })
    };
    outcome.unwrap_or_else(|_| {
        Err(ParseError {
            code: "E-MAP-001",
            offset: 0,
            what: "the template's parser gave up on this text".to_owned(),
            hint: Some("write it more plainly, and report this text as a fault".to_owned()),
        })
    })
}

fn too_much(what: String) -> ParseError {
    ParseError { code: "E-MAP-002", offset: 0, what, hint: Some("split it over several steps or fields".to_owned()) }
}

/// How many levels `text` could open at the very most.
fn openings(text: &str) -> usize {
    let bytes = text.as_bytes();
    let single = |i: usize| bytes.get(i.wrapping_sub(1)) != Some(&b'{') && bytes.get(i + 1) != Some(&b'{');
    let brackets = bytes.iter().enumerate().filter(|(i, byte)| match byte {
        b'(' | b'[' | b'#' | b'^' => true,
        b'{' => single(*i),
        _ => false,
    });
    brackets.count() + text.matches("else").count()
}
