//! Text as Microsoft's language counts it: in UTF-16 units, of which a character beyond U+FFFF has two.

/// How many units a text has.
pub(super) fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// The units from `start` to `end`, which may lie behind the text's end. Half of a character becomes U+FFFD.
pub(super) fn part(text: &str, start: usize, end: usize) -> String {
    if text.is_ascii() {
        let end = end.min(text.len());
        return text[start.min(end)..end].to_owned();
    }
    let units: Vec<u16> = text.encode_utf16().skip(start).take(end.saturating_sub(start)).collect();
    String::from_utf16_lossy(&units)
}

/// Upper case by single characters: one stays one, so places stay places, and dotless or long forms stay as they are.
pub(super) fn upper(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    let change = |c: char| if matches!(c, 'ı' | 'ſ') { c } else { single(c.to_uppercase(), c) };
    text.chars().map(change).collect()
}

/// Lower case by single characters.
pub(super) fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().map(|c| single(c.to_lowercase(), c)).collect()
}

fn single(mut changed: impl Iterator<Item = char>, c: char) -> char {
    match (changed.next(), changed.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Where `search` stands for the `n`-th time (from 1), overlapping places counted. Takes time as the two are long.
pub(super) fn nth(text: &[u16], search: &[u16], n: usize) -> Option<usize> {
    let mut failure = vec![0; search.len()];
    let mut matched = 0;
    for i in 1..search.len() {
        while matched > 0 && search[i] != search[matched] {
            matched = failure[matched - 1];
        }
        matched += usize::from(search[i] == search[matched]);
        failure[i] = matched;
    }
    let (mut matched, mut found) = (0, 0);
    for (i, unit) in text.iter().enumerate() {
        while matched > 0 && (matched == search.len() || *unit != search[matched]) {
            matched = failure[matched - 1];
        }
        matched += usize::from(search.get(matched) == Some(unit));
        if matched == search.len() {
            found += 1;
            if found == n {
                return Some(i + 1 - matched);
            }
        }
    }
    None
}
