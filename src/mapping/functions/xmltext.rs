//! Text for XML: values and names escaped and read again. XML itself is not read here.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use super::{Args, Fault, Function, TEXT, example, one, string};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "encodeXmlValue",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text as it may stand in XML: `&`, `<`, `>`, `\"` and `'` as entities.",
        example: example(r#"{{encodeXmlValue vars.a}}"#, r#"{"vars":{"a":"a < b & c"}}"#, r#""a &lt; b &amp; c""#),
        infer: None,
        run: encode_value,
    },
    Function {
        name: "decodeXmlValue",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text with the entities of XML read: the five named ones and numbers. Anything else stays as it is.",
        example: example(r#"{{decodeXmlValue vars.a}}"#, r#"{"vars":{"a":"&lt;&#65;&gt;"}}"#, r#""<A>""#),
        infer: None,
        run: decode_value,
    },
    Function {
        name: "encodeXmlName",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text as a name in XML: what a name can't hold is written `_xHHHH_`.",
        example: example(r#"{{encodeXmlName vars.a}}"#, r#"{"vars":{"a":"Order Detail"}}"#, r#""Order_x0020_Detail""#),
        infer: None,
        run: encode_name,
    },
    Function {
        name: "decodeXmlName",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "A name that `encodeXmlName` has written, read again.",
        example: example(r#"{{decodeXmlName vars.a}}"#, r#"{"vars":{"a":"Order_x0020_Detail"}}"#, r#""Order Detail""#),
        infer: None,
        run: decode_name,
    },
    Function {
        name: "trimByteOrderMark",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text without the byte order mark (U+FEFF) that some programs put before it.",
        example: example(r#"{{trimByteOrderMark vars.a}}"#, r#"{"vars":{"a":"\uFEFFid;name"}}"#, r#""id;name""#),
        infer: None,
        run: |args| string(args.text(0)?.trim_start_matches('\u{FEFF}').to_owned()),
    },
];

const ENTITIES: &[(&str, char)] = &[("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];

fn encode_value(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match ENTITIES.iter().find(|(_, of)| *of == c) {
            // Writing to a String can't fail.
            Some((name, _)) => drop(write!(out, "&{name};")),
            None => out.push(c),
        }
    }
    string(out)
}

fn decode_value(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest entity is `&#1114111;`.
        let end = rest.bytes().take(12).position(|b| b == b';');
        match end.and_then(|end| Some((entity(rest.get(1..end)?)?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    string(out)
}

fn entity(name: &str) -> Option<char> {
    let number = |digits: &str, base: u32| u32::from_str_radix(digits, base).ok().and_then(char::from_u32);
    if let Some(digits) = name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
        return number(digits, 16);
    }
    match name.strip_prefix('#') {
        Some(digits) => number(digits, 10),
        None => ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c),
    }
}

fn encode_name(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let fits = if at == 0 { starts_name(c) } else { in_name(c) };
        // An underscore that would be read as the start of an escape is escaped itself.
        if fits && !(c == '_' && escape(&text[at..]).is_some()) {
            out.push(c);
        } else if u32::from(c) > 0xFFFF {
            let _ = write!(out, "_x{:08X}_", u32::from(c));
        } else {
            let _ = write!(out, "_x{:04X}_", u32::from(c));
        }
    }
    string(out)
}

fn decode_name(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find("_x") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match escape(rest) {
            Some((c, length)) => {
                out.push(c);
                rest = &rest[length..];
            }
            None => {
                out.push('_');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    string(out)
}

/// What `_xHHHH_` or `_xHHHHHHHH_` at the start of a text stands for, and its length.
fn escape(text: &str) -> Option<(char, usize)> {
    let hex = text.strip_prefix("_x")?;
    [4, 8].into_iter().find_map(|count| {
        let digits = hex.get(..count).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let closed = hex[count..].starts_with('_');
        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
        closed.then_some((c, count + 3))
    })
}

/// NameStartChar of XML 1.0.
fn starts_name(c: char) -> bool {
    matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// NameChar of XML 1.0.
fn in_name(c: char) -> bool {
    starts_name(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
