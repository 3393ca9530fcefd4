//! .NET's custom formats of numbers: `#,##0.00;(#,##0.00);zero`.

use super::digits::Digits;
use crate::mapping::functions::culture::Culture;

/// What a section says before its characters are gone through again.
#[derive(Default)]
struct Section {
    /// Placeholders `0` and `#`.
    placeholders: i64,
    /// Placeholders before the point.
    point: Option<i64>,
    first_zero: Option<i64>,
    last_zero: i64,
    grouped: bool,
    /// Powers of ten that `%`, `‰` and commas before the point say.
    shift: i64,
    exponent: bool,
}

/// `number` by a custom format.
pub(super) fn format(number: &Digits, format: &str, culture: &Culture) -> String {
    let chars: Vec<char> = format.chars().collect();
    let mut sections = split(&chars);
    sections.truncate(3);
    // An empty section is one that was not written.
    let choose = |i: usize| if sections.get(i).is_some_and(|section| !section.is_empty()) { i } else { 0 };
    let mut chosen = choose(if number.is_zero() { 2 } else { usize::from(number.negative) });
    let mut original = number.clone();
    loop {
        let text = sections.get(chosen).copied().unwrap_or_default();
        let section = scan(text);
        let mut number = original.clone();
        if !number.is_zero() {
            number.scale += section.shift;
            let point = section.point.unwrap_or(section.placeholders);
            let count = if section.exponent {
                section.placeholders
            } else {
                number.scale.saturating_add(section.placeholders - point)
            };
            number.round(count);
            if number.is_zero() && choose(2) != chosen {
                (chosen, original) = (choose(2), number);
                continue;
            }
        }
        let negative = number.negative && chosen == 0;
        return write(&number, negative, text, &section, culture);
    }
}

/// The sections between `;`, without those in quotes.
fn split(chars: &[char]) -> Vec<&[char]> {
    let mut sections = Vec::new();
    let (mut start, mut i) = (0, 0);
    while i < chars.len() {
        match chars[i] {
            ';' => {
                sections.push(&chars[start..i]);
                start = i + 1;
            }
            '\\' => i += 1,
            quote @ ('\'' | '"') => i = end_of_quote(chars, i, quote),
            _ => {}
        }
        i += 1;
    }
    sections.push(chars.get(start..).unwrap_or_default());
    sections
}

/// Where the quote that opens at `i` closes, or the end.
fn end_of_quote(chars: &[char], i: usize, quote: char) -> usize {
    (i + 1..chars.len()).find(|n| chars[*n] == quote).unwrap_or(chars.len())
}

/// Whether `E0`, `E+0` or `E-0` stands at `i`; the place of its first zero.
fn exponent(chars: &[char], i: usize) -> Option<usize> {
    let at = |n: usize| chars.get(n).copied();
    match (at(i + 1), at(i + 2)) {
        (Some('0'), _) => Some(i + 1),
        (Some('+' | '-'), Some('0')) => Some(i + 2),
        _ => None,
    }
}

fn zeros(chars: &[char], from: usize) -> usize {
    chars.iter().skip(from).take_while(|c| **c == '0').count()
}

fn scan(chars: &[char]) -> Section {
    let mut section = Section::default();
    // Where the last run of commas stood, in placeholders, and how many they were.
    let mut commas: Option<(i64, i64)> = None;
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '#' => section.placeholders += 1,
            '0' => {
                section.first_zero.get_or_insert(section.placeholders);
                section.placeholders += 1;
                section.last_zero = section.placeholders;
            }
            '.' => {
                section.point.get_or_insert(section.placeholders);
            }
            ',' if section.placeholders > 0 && section.point.is_none() => {
                commas = match commas {
                    Some((at, count)) if at == section.placeholders => Some((at, count + 1)),
                    Some(_) => {
                        section.grouped = true;
                        Some((section.placeholders, 1))
                    }
                    None => Some((section.placeholders, 1)),
                };
            }
            '%' => section.shift += 2,
            '‰' => section.shift += 3,
            '\\' => i += 1,
            quote @ ('\'' | '"') => i = end_of_quote(chars, i, quote),
            'e' | 'E' => {
                if let Some(zero) = exponent(chars, i) {
                    section.exponent = true;
                    i = zero + zeros(chars, zero) - 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    if let Some((at, count)) = commas {
        if at == section.point.unwrap_or(section.placeholders) {
            section.shift -= count * 3;
        } else {
            section.grouped = true;
        }
    }
    section
}

fn write(number: &Digits, negative: bool, chars: &[char], section: &Section, culture: &Culture) -> String {
    let point = section.point.unwrap_or(section.placeholders);
    // Places are counted from the point: 1 is the last before it, 0 the first behind it.
    let least = section.first_zero.map_or(0, |first| (point - first).max(0));
    let last = (point - section.last_zero).min(0);
    let scale = if number.is_zero() { 0 } else { number.scale };
    let (mut place, mut adjust) = if section.exponent { (point, 0) } else { (scale.max(point), scale - point) };
    let shown = place + adjust.min(0);
    let mut seps = if section.grouped { separators(shown.max(least), &culture.sizes) } else { Vec::new() };
    let mut writer = Writer { out: String::new(), next: 0, number };
    if negative {
        writer.out.push('-');
    }
    let mut pointed = false;
    let mut exponent_due = section.exponent;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if matches!(c, '#' | '0' | '.') {
            while adjust > 0 {
                let digit = writer.digit().unwrap_or('0');
                writer.put(digit, place, &mut seps, culture.group);
                place -= 1;
                adjust -= 1;
            }
        }
        match c {
            '#' | '0' => {
                let digit = if adjust < 0 {
                    adjust += 1;
                    (place <= least).then_some('0')
                } else {
                    writer.digit().or((place > last).then_some('0'))
                };
                if let Some(digit) = digit {
                    writer.put(digit, place, &mut seps, culture.group);
                }
                place -= 1;
            }
            '.' if place == 0 && !pointed => {
                if last < 0 || (point < section.placeholders && writer.more()) {
                    writer.out.push_str(culture.decimal);
                    pointed = true;
                }
            }
            '.' | ',' => {}
            '%' => writer.out.push_str(culture.percent_sign),
            '‰' => writer.out.push_str(culture.permille),
            '\\' => {
                i += 1;
                writer.out.extend(chars.get(i));
            }
            quote @ ('\'' | '"') => {
                let end = end_of_quote(chars, i, quote);
                writer.out.extend(&chars[i + 1..end]);
                i = end;
            }
            'e' | 'E' => match exponent(chars, i) {
                Some(zero) if exponent_due => {
                    let count = zeros(chars, zero);
                    let value = if number.is_zero() { 0 } else { number.scale - point };
                    writer.exponent(c, value, count.min(10), chars[i + 1] == '+');
                    exponent_due = false;
                    i = zero + count - 1;
                }
                _ => writer.out.push(c),
            },
            other => writer.out.push(other),
        }
        i += 1;
    }
    writer.out
}

/// Behind which places a separator stands, the nearest to the point first.
fn separators(digits: i64, sizes: &[usize]) -> Vec<i64> {
    let mut found = Vec::new();
    let mut at = 0;
    for i in 0.. {
        let size = sizes.get(i).or(sizes.last()).copied().unwrap_or(0);
        at += i64::try_from(size).unwrap_or(0);
        if size == 0 || at >= digits {
            break;
        }
        found.push(at);
    }
    found
}

struct Writer<'n> {
    out: String,
    next: usize,
    number: &'n Digits,
}

impl Writer<'_> {
    fn more(&self) -> bool {
        self.next < self.number.digits.len()
    }

    fn digit(&mut self) -> Option<char> {
        let digit = self.number.digits.get(self.next).map(|digit| char::from(*digit));
        self.next += usize::from(digit.is_some());
        digit
    }

    fn put(&mut self, digit: char, place: i64, seps: &mut Vec<i64>, separator: &str) {
        self.out.push(digit);
        if place > 1 && seps.last() == Some(&(place - 1)) {
            self.out.push_str(separator);
            seps.pop();
        }
    }

    fn exponent(&mut self, letter: char, value: i64, width: usize, plus: bool) {
        self.out.push(letter);
        match value {
            ..0 => self.out.push('-'),
            _ if plus => self.out.push('+'),
            _ => {}
        }
        self.out += &format!("{:0width$}", value.unsigned_abs());
    }
}
