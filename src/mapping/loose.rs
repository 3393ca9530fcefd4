//! Numbers as people write them, which the parser's grammar does not know: `.3`, `-.5`, `+1`, `1.`, `1e+5`.
//!
//! Each is handed to the parser as a name of the same length, so that all places stay where they are, and is read again
//! from the text as it was written when it comes back as a path.

use std::borrow::Cow;

use serde_json::Number;

use super::number;

/// `text` with each such number inside `{{ }}` made a name: a point or a plus becomes `$`.
pub(super) fn hidden(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut swapped: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|found| at + found) {
        let escaped = open > 0 && bytes[open - 1] == b'\\';
        at = open + 2;
        if escaped {
            continue;
        }
        if bytes.get(at) == Some(&b'!') {
            let close = if text[at..].starts_with("!--") { "--}}" } else { "}}" };
            at = text[at..].find(close).map_or(text.len(), |found| at + found);
            continue;
        }
        while at < bytes.len() && !text[at..].starts_with("}}") {
            match bytes[at] {
                quote @ (b'"' | b'\'') => at = closed(bytes, at, quote),
                b'[' => at = closed(bytes, at, b']'),
                b if separates(b) => at += 1,
                _ => {
                    let ends = |b: &u8| separates(*b) || *b == b'"' || *b == b'\'' || *b == b'[';
                    let end = at + bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
                    if needs_it(&text[at..end]) {
                        let bytes = swapped.get_or_insert_with(|| text.as_bytes().to_vec());
                        for b in &mut bytes[at..end] {
                            *b = if matches!(b, b'.' | b'+') { b'$' } else { *b };
                        }
                    }
                    at = end;
                }
            }
        }
    }
    // Only ASCII was put in place of ASCII.
    swapped.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The number that a text is, with or without digits on each side of its point.
pub(super) fn read(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => unsigned.split_at(at),
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    let trimmed = whole.trim_start_matches('0');
    let whole = if trimmed.is_empty() { "0" } else { trimmed };
    let point = if fraction.is_empty() { "" } else { "." };
    number::parse(&format!("{sign}{whole}{point}{fraction}{exponent}"))
}

/// A number that the grammar would take for something else.
fn needs_it(token: &str) -> bool {
    token.contains(['.', '+']) && token.contains(|c: char| c.is_ascii_digit()) && read(token).is_some() && {
        let plain = token.strip_prefix('-').unwrap_or(token);
        plain.starts_with(['.', '+']) || plain.contains("e+") || plain.contains("E+") || {
            let mantissa = plain.split(['e', 'E']).next().unwrap_or_default();
            mantissa.ends_with('.')
        }
    }
}

fn separates(b: u8) -> bool {
    b.is_ascii_whitespace() || matches!(b, b'(' | b')' | b'{' | b'}' | b'~' | b'=')
}

/// Behind what opens at `at`, or at the end.
fn closed(bytes: &[u8], at: usize, by: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if by != b']' => i += 1,
            b if b == by => return i + 1,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_inside_of_braces_are_hidden() {
        assert_eq!(hidden("{{add .3 (neg -.5)}} +1 .3"), "{{add $3 (neg -$5)}} +1 .3");
        assert_eq!(hidden("{{add +1 1. 1e+5 1.5 a.b 2 -3}}"), "{{add $1 1$ 1e$5 1.5 a.b 2 -3}}");
        for same in [
            "{{f \" .3 \" ' +1 ' [ .5 ]}}",
            "{{!-- .3 --}}",
            "{{! +1 }}",
            "\\{{ .3 }}",
            "{{a.[+1].b}}",
            "{{ + . .. +x}}",
            "{{ é.é \"",
            "{{",
        ] {
            assert_eq!(hidden(same), same);
        }
    }

    #[test]
    fn numbers_are_read_with_digits_on_either_side() {
        let of = |text: &str| read(text).map(|number| number.to_string());
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(
            (of(".3"), of("-.5"), of("+1"), of("1."), of("007")),
            (is("0.3"), is("-0.5"), is("1"), is("1"), is("7"))
        );
        assert_eq!((of("."), of("+"), of("1.e"), of("+-1"), of("1e+5")), (None, None, None, None, is("1e+5")));
    }
}
