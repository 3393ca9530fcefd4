//! The words of an XPath expression.

/// One word. Names and `*` are told from operators by what stands before them, as the recommendation says (3.7).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `/`, `//`, `|`, `+`, `-`, `=`, `!=`, `<`, `<=`, `>`, `>=`, `(`, `)`, `[`, `]`, `.`, `..`, `@`, `,`, `::`, `*`.
    Sign(&'static str),
    /// `and`, `or`, `div`, `mod`, `*` between two operands.
    Operator(&'static str),
    Name(String),
    Number(f64),
    Text(String),
}

const SIGNS: [&str; 20] =
    ["//", "!=", "<=", ">=", "::", "..", "/", "|", "+", "-", "=", "<", ">", "(", ")", "[", "]", "@", ",", "."];

/// The words of `text`; the error says where there is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found: Vec<Token> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let operand = found.last().is_some_and(|last| match last {
            Token::Operator(_) => false,
            Token::Sign(sign) => matches!(*sign, ")" | "]" | "." | ".." | "*"),
            Token::Name(_) | Token::Number(_) | Token::Text(_) => true,
        });
        let (token, length) = if c == '"' || c == '\'' {
            let end = rest[1..].find(c).ok_or("is no XPath: a quote is not closed")?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let value =
                rest[..length].parse().map_err(|_| format!("is no XPath: `{}` is no number", &rest[..length]))?;
            (Token::Number(value), length)
        } else if c == '*' {
            (if operand { Token::Operator("*") } else { Token::Sign("*") }, 1)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else if c.is_alphabetic() || c == '_' {
            let length = name(rest);
            let word = &rest[..length];
            let operator = ["and", "or", "div", "mod"].into_iter().find(|operator| operand && *operator == word);
            (operator.map_or_else(|| Token::Name(word.to_owned()), Token::Operator), length)
        } else if c == '$' {
            return Err("is an XPath with a variable, and there are none".to_owned());
        } else {
            return Err(format!("is no XPath: `{c}` has no meaning in it"));
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

/// How long the name is that `text` begins with: `item`, `soap:Body`, `soap:*`.
fn name(text: &str) -> usize {
    let part = |text: &str| {
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '·');
        text.find(|c: char| !inside(c)).unwrap_or(text.len())
    };
    let first = part(text);
    let Some(rest) = text[first..].strip_prefix(':').filter(|rest| !rest.starts_with(':')) else {
        return first;
    };
    match rest.chars().next() {
        Some('*') => first + 2,
        Some(c) if c.is_alphabetic() || c == '_' => first + 1 + part(rest),
        _ => first,
    }
}
