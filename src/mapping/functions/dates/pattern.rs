//! .NET's format strings of dates: standard ones (`d`, `o`) and custom ones (`yyyy-MM-dd`), taken apart.

use crate::mapping::functions::culture::{self, Culture};

/// One piece of a custom format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A specifier and how often its letter stands there: `('y', 4)`.
    Field(char, usize),
    Text(String),
}

/// What a format string means, before the pieces.
pub(super) struct Format {
    pub pieces: Vec<Piece>,
    pub culture: &'static Culture,
}

/// Takes a format string apart; the error says what is wrong with it.
pub(super) fn read(format: &str, culture: &'static Culture) -> Result<Format, String> {
    let mut chars = format.chars();
    let only = match (chars.next(), chars.next()) {
        (Some(letter), None) => letter,
        (None, _) => 'G',
        _ => return Ok(Format { pieces: pieces(format)?, culture }),
    };
    let joined = |date: &str, time: &str| format!("{date} {time}");
    // These mean the same in each culture.
    let fixed = |text: &str| (text.to_owned(), culture::default());
    let own = |text: String| (text, culture);
    let (text, culture) = match only {
        'd' => own(culture.date.to_owned()),
        'D' => own(culture.long_date.to_owned()),
        't' => own(culture.time.to_owned()),
        'T' => own(culture.long_time.to_owned()),
        'f' => own(joined(culture.long_date, culture.time)),
        'F' | 'U' => own(joined(culture.long_date, culture.long_time)),
        'g' => own(joined(culture.date, culture.time)),
        'G' => own(joined(culture.date, culture.long_time)),
        'm' | 'M' => own(culture.month_day.to_owned()),
        'y' | 'Y' => own(culture.year_month.to_owned()),
        'o' | 'O' => fixed("yyyy'-'MM'-'dd'T'HH':'mm':'ss'.'fffffffK"),
        'r' | 'R' => fixed("ddd', 'dd MMM yyyy HH':'mm':'ss 'GMT'"),
        's' => fixed("yyyy'-'MM'-'dd'T'HH':'mm':'ss"),
        'u' => fixed("yyyy'-'MM'-'dd HH':'mm':'ss'Z'"),
        other => {
            return Err(format!("is no date format: `{other}` alone has no meaning; `%{other}` would be a custom one"));
        }
    };
    Ok(Format { pieces: pieces(&text)?, culture })
}

fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let chars: Vec<char> = format.chars().collect();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        match c {
            'd' | 'f' | 'F' | 'g' | 'h' | 'H' | 'K' | 'm' | 'M' | 's' | 't' | 'y' | 'z' | '/' | ':' => {
                let single = matches!(c, 'K' | '/' | ':');
                let length = if single { 1 } else { chars[i..].iter().take_while(|next| **next == c).count() };
                if matches!(c, 'f' | 'F') && length > 7 {
                    return Err(format!("is no date format: at most seven `{c}` stand in a row"));
                }
                pieces.push(Piece::Field(c, length));
                i += length;
            }
            '"' | '\'' => {
                let mut text = String::new();
                i += 1;
                loop {
                    match chars.get(i) {
                        None => return Err(format!("is no date format: the quote {c} is not closed")),
                        Some(end) if *end == c => break,
                        Some('\\') => {
                            i += 1;
                            let escaped = chars.get(i).ok_or("is no date format: nothing follows its last `\\`")?;
                            text.push(*escaped);
                        }
                        Some(other) => text.push(*other),
                    }
                    i += 1;
                }
                i += 1;
                push(&mut pieces, &text);
            }
            '\\' => {
                let next = chars.get(i + 1).ok_or("is no date format: nothing follows its last `\\`")?;
                push(&mut pieces, &next.to_string());
                i += 2;
            }
            '%' => match chars.get(i + 1) {
                None | Some('%') => return Err("is no date format: a specifier must follow `%`".to_owned()),
                Some(_) => i += 1,
            },
            other => {
                push(&mut pieces, &other.to_string());
                i += 1;
            }
        }
    }
    Ok(pieces)
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Whether a day stands beside the month, which then takes its genitive form.
pub(super) fn has_day(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| matches!(piece, Piece::Field('d', 1 | 2)))
}
