//! XML from outside: weighed before it is parsed, without document types and entities.
//!
//! roxmltree's time grows with the square of an element's attributes and with the namespaces in scope, so both are counted
//! first. All that recurses here may, since depth is bounded.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

/// Deepest nesting of elements; JSON made of it must be read again.
const MAX_DEPTH: usize = 100;
/// Most nodes of one document.
const MAX_NODES: u32 = 1_000_000;
/// Most comparisons of attributes and namespaces while parsing.
const MAX_WORK: usize = 20_000_000;

/// Parses `text`; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    weigh(text)?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => format!("is XML of more than {MAX_NODES} nodes"),
        roxmltree::Error::DtdDetected => NO_DTD.to_owned(),
        roxmltree::Error::UnknownEntityReference(_, at) => {
            format!("is not XML at line {} column {}: only the five entities of XML itself are known", at.row, at.col)
        }
        error => format!("is not XML at line {} column {}", error.pos().row, error.pos().col),
    })
}

const NO_DTD: &str = "is XML with a document type, which is refused: it could name files and grow without bound";

/// An opening tag.
pub(super) struct Tag<'t> {
    /// With its prefix.
    pub name: &'t str,
    /// Names of its attributes, with their prefixes, `xmlns` among them.
    pub attributes: Vec<&'t str>,
    pub closed: bool,
    /// Bytes from `<` to behind `>`.
    pub length: usize,
}

/// The tag at the start of `text`, which begins with `<`.
pub(super) fn tag(text: &str) -> Option<Tag<'_>> {
    let bytes = text.as_bytes();
    let part = |from: usize| {
        let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'>' | b'/' | b'=');
        from + bytes[from..].iter().position(ends).unwrap_or(bytes.len() - from)
    };
    let end = part(1);
    let mut found = Tag { name: text.get(1..end)?, attributes: Vec::new(), closed: false, length: 0 };
    let mut i = end;
    while let Some(b) = bytes.get(i) {
        match b {
            b'>' => {
                found.closed = bytes[i - 1] == b'/';
                found.length = i + 1;
                return Some(found);
            }
            b'"' | b'\'' => i += 1 + bytes[i + 1..].iter().position(|c| c == b)?,
            b'/' | b'=' => {}
            b if b.is_ascii_whitespace() => {}
            _ => {
                let end = part(i);
                found.attributes.push(text.get(i..end)?);
                i = end;
                continue;
            }
        }
        i += 1;
    }
    None
}

/// What stands between `<` and its `>`.
enum Markup<'t> {
    Open(Tag<'t>),
    Close(usize),
    /// A comment, CDATA or an instruction: bytes.
    Aside(usize),
    /// A document type.
    Type,
}

/// The markup at the start of `rest`, which begins with `<`; `None` for what does not end, which is the parser's to tell.
fn markup(rest: &str) -> Option<Markup<'_>> {
    for (start, end) in [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")] {
        if let Some(inner) = rest.strip_prefix(start) {
            return inner.find(end).map(|at| Markup::Aside(start.len() + at + end.len()));
        }
    }
    if rest.starts_with("<!") {
        return Some(Markup::Type);
    }
    if rest.starts_with("</") {
        return rest.find('>').map(|at| Markup::Close(at + 1));
    }
    tag(rest).map(Markup::Open)
}

/// Refuses what would be too much for the parser, or what it would not be asked to read.
fn weigh(text: &str) -> Result<(), String> {
    let (mut rest, mut work) = (text, 0_usize);
    // Namespaces in scope at each open element.
    let mut open: Vec<usize> = vec![1];
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let length = match markup(rest) {
            None => return Ok(()),
            Some(Markup::Type) => return Err(NO_DTD.to_owned()),
            Some(Markup::Aside(length)) => length,
            Some(Markup::Close(length)) => {
                open.pop();
                length
            }
            Some(Markup::Open(tag)) => {
                let spaces = tag.attributes.iter().filter(|name| name.starts_with("xmlns")).count();
                let scope = open.last().copied().unwrap_or(1) + spaces;
                work += tag.attributes.len() * tag.attributes.len() + scope * (tag.attributes.len() + 1);
                if work > MAX_WORK {
                    return Err("is XML with too many attributes and namespaces".to_owned());
                }
                if !tag.closed {
                    open.push(scope);
                }
                if open.len() > MAX_DEPTH + 1 {
                    return Err(format!("is XML nested more than {MAX_DEPTH} deep"));
                }
                tag.length
            }
        };
        rest = &rest[length..];
    }
    Ok(())
}

/// `text` without what is only blank between its markup, as .NET reads a document; `xml:space="preserve"` keeps it.
pub(super) fn compact(text: &str) -> Cow<'_, str> {
    let blank = |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    let mut out = String::new();
    // What was not copied yet begins here.
    let (mut kept, mut at) = (0, 0);
    // Whether each open element keeps its blanks.
    let mut open: Vec<bool> = Vec::new();
    while let Some(gap) = text[at..].find('<') {
        if blank(&text[at..at + gap]) && open.last() == Some(&false) {
            out.push_str(&text[kept..at]);
            kept = at + gap;
        }
        at += gap;
        at += match markup(&text[at..]) {
            None | Some(Markup::Type) => break,
            Some(Markup::Aside(length)) => length,
            Some(Markup::Close(length)) => {
                open.pop();
                length
            }
            Some(Markup::Open(tag)) => {
                if !tag.closed {
                    let said = || text[at..at + tag.length].split_once("xml:space").map(|(_, rest)| rest);
                    let said = said().filter(|_| tag.attributes.contains(&"xml:space"));
                    let value = said.and_then(|rest| rest.split(['"', '\'']).nth(1));
                    let inherited = open.last().copied().unwrap_or_default();
                    open.push(value.map_or(inherited, |value| value == "preserve"));
                }
                tag.length
            }
        };
    }
    if kept == 0 { Cow::Borrowed(text) } else { Cow::Owned(out + &text[kept..]) }
}

/// The opening tag of an element, as it was written.
pub(super) fn tag_of<'i>(node: Node<'_, 'i>) -> Option<Tag<'i>> {
    tag(source(node))
}

/// A node's text in the document.
pub(super) fn source<'i>(node: Node<'_, 'i>) -> &'i str {
    node.document().input_text().get(node.range()).unwrap_or_default()
}

/// `soap` of `soap:Body`; empty without a prefix.
pub(super) fn prefix(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

/// A node as XML by itself: what it uses of the namespaces around it is declared in its own tag.
pub(super) fn outer(node: Node<'_, '_>) -> String {
    let text = source(node);
    let Some(tag) = tag_of(node).filter(|_| node.is_element()) else {
        return text.to_owned();
    };
    let mut used: Vec<&str> = Vec::new();
    for element in node.descendants().filter(Node::is_element) {
        let Some(tag) = tag_of(element) else { continue };
        let names = std::iter::once(prefix(tag.name)).chain(tag.attributes.iter().map(|name| prefix(name)));
        for (i, prefix) in names.enumerate() {
            // An attribute without a prefix is in no namespace.
            if (i == 0 || !prefix.is_empty()) && !used.contains(&prefix) && used.len() < 1000 {
                used.push(prefix);
            }
        }
    }
    let mut out = String::with_capacity(text.len());
    let (head, rest) = text.split_at(1 + tag.name.len());
    out.push_str(head);
    for prefix in used {
        let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        let uri = node.lookup_namespace_uri((!prefix.is_empty()).then_some(prefix));
        let inherited = !matches!(prefix, "xml" | "xmlns") && !tag.attributes.contains(&name.as_str());
        if let Some(uri) = uri.filter(|uri| inherited && !uri.is_empty()) {
            out += &format!(" {name}=\"");
            escape(&mut out, uri, true);
            out.push('"');
        }
    }
    out + rest
}

/// Appends `text` with what would be markup written as entities.
pub(super) fn escape(out: &mut String, text: &str, attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\n' if attribute => out.push_str("&#xA;"),
            '\t' if attribute => out.push_str("&#x9;"),
            '\r' => out.push_str("&#xD;"),
            other => out.push(other),
        }
    }
}
