//! What a text looks like: a word that somebody chose, the id of one thing, or a secret.
//!
//! A guess, and one that errs on one side: what could be a secret is not written to a file that is kept in git.

/// Longest run of small letters that is still a word.
const WORD: usize = 23;
/// Shortest text that could not be guessed.
const UNGUESSED: usize = 16;

/// What a segment of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// A kind of things, a version, an action.
    Word,
    /// One thing.
    Id,
    Secret,
}

impl Segment {
    pub fn of(segment: &str) -> Segment {
        let segment = segment.replace("%3A", ":").replace("%3a", ":");
        if segment.is_empty() || is_version(&segment) || is_date(&segment) {
            return Segment::Word;
        }
        if segment.bytes().all(|b| b.is_ascii_digit()) || is_uuid(&segment) {
            return Segment::Id;
        }
        if let Some((before, after)) = segment.rsplit_once(':') {
            // `values/A1:append`, `models/x:generateContent`, and not `bot123:AAH…`.
            let bot = before.strip_prefix("bot").is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()));
            let verb = after.starts_with(|c: char| c.is_ascii_lowercase()) && is_word(after);
            return if verb && !bot && !before.contains(':') { Segment::of(before) } else { Segment::Secret };
        }
        if segment.len() > WORD && is_opaque(&segment) {
            Segment::Secret
        } else if is_opaque(&segment) || segment.split(SEPARATORS).any(|part| !is_plain(part)) {
            Segment::Id
        } else {
            Segment::Word
        }
    }
}

const SEPARATORS: [char; 4] = ['-', '_', '.', '~'];

/// True if some part of the text is long and not of words: a key, a token, a UUID.
pub(super) fn is_opaque(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || SEPARATORS.contains(&c) || matches!(c, '+' | '=' | '%');
    text.split(|c: char| !inside(c)).filter(|run| run.len() >= UNGUESSED).any(|run| {
        let mut parts = run.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
        !is_date(run) && parts.any(|part| !is_plain(part))
    })
}

/// `contacts`, `ada`, `oauth2`, `sendMessage`, `2026`: nothing of it was drawn by lot.
fn is_plain(part: &str) -> bool {
    let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = part.len() - name.len();
    if name.is_empty() {
        return digits <= 8;
    }
    digits <= if name.bytes().any(|b| b.is_ascii_uppercase()) { 1 } else { 3 } && is_word(name)
}

/// Letters alone, as in `contacts`, `sendMessage`, `Leads` and `SMS`.
fn is_word(text: &str) -> bool {
    let capitals = text.bytes().filter(u8::is_ascii_uppercase).count();
    let starts = text.as_bytes().windows(2).filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    let humps = starts.count();
    let first = usize::from(text.starts_with(|c: char| c.is_ascii_uppercase()));
    let shouted = capitals == text.len() && text.len() <= 12;
    let longest = text.split(|c: char| c.is_ascii_uppercase()).map(str::len).max().unwrap_or_default();
    text.bytes().all(|b| b.is_ascii_alphabetic())
        && longest <= WORD
        // Each capital begins a word of some length.
        && (shouted || (capitals == humps + first && text.len() >= 3 * capitals))
}

fn is_version(text: &str) -> bool {
    let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let dotted = numbers != text || text.contains('.');
    dotted && text.len() <= 12 && numbers.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// `2026-11-23`.
fn is_date(text: &str) -> bool {
    text.len() == 10 && text.matches('-').count() == 2 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') && text.matches('-').count() == 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_ids_and_secrets_are_told_apart() {
        for word in [
            "contacts",
            "sendMessage",
            "v1",
            "v9.2",
            "1.1",
            "2010-04-01",
            "oauth2",
            "Leads",
            "SMS",
            "api",
            "crm-objects",
            "my-long-slug-of-a-page-in-2026",
            "createOrUpdateContact",
            "web_to_lead",
            "index.php",
            "",
        ] {
            assert_eq!(Segment::of(word), Segment::Word, "{word}");
        }
        for id in [
            "4711",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "cus_NffrFeUfNV2Hib",
            "appA1b2C3d4E5f6G7",
            "T024BE7LH",
            "s3cr3t",
        ] {
            assert_eq!(Segment::of(id), Segment::Id, "{id}");
        }
        for secret in [
            "bot123:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
            "bot1:abc",
            "123%3AAAHx",
            "user:s3cr3t",
            "xXxQwErTyUiOpAsDfGhJkLzXcVb",
            "0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyzab",
            "XXXXXXXXXXXXXXXXXXXXXXXX",
        ] {
            assert_eq!(Segment::of(secret), Segment::Secret, "{secret}");
        }
        for plain in
            ["application/vnd.github+json", "2022-11-28", "en-GB,en;q=0.9", "https://example.com/a/page", "*/*"]
        {
            assert!(!is_opaque(plain), "{plain}");
        }
        for opaque in
            ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "0f8fad5b-d9cb-469f-a165-70867728950e", "Zm9vYmFyYmF6cXV4cXV1eA=="]
        {
            assert!(is_opaque(opaque), "{opaque}");
        }
    }
}
