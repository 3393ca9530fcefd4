//! The text of statements: names quoted, and `?` for each parameter where the database wants `$1`.

use serde_json::{Value, json};

use super::place::Kind;
use crate::connector::{Class, Failure};
use crate::outbound::Call;

/// An INSERT with its values, in order.
#[derive(Debug)]
pub(super) struct Insert {
    pub table: String,
    pub columns: Vec<String>,
    pub values: Vec<Value>,
    /// Columns that tell rows apart.
    pub keys: Vec<String>,
    pub key: Value,
    /// Whether a row that is there is changed.
    pub upsert: bool,
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Class::Permanent, "sql.input", what)
}

impl Insert {
    /// Of `insert` and `upsert`.
    pub fn of(call: &Call<'_>, kind: Kind) -> Result<Insert, Failure> {
        let upsert = call.action == "upsert";
        let text = |key: &str| call.input.get(key).and_then(Value::as_str);
        let row = call.input.get("row").and_then(Value::as_object);
        let mut named: Vec<(&str, Value)> =
            row.into_iter().flatten().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let mut keys: Vec<&str> = Vec::new();
        let mut key = Value::Null;
        if upsert {
            let listed = call.input.get("key_columns").and_then(Value::as_array);
            keys.extend(listed.into_iter().flatten().filter_map(Value::as_str));
            for name in &keys {
                let own = named.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                if own.is_none_or(|(_, value)| value.is_null()) {
                    return Err(wrong(format!("`row` has no value for its key column `{name}`")));
                }
            }
        } else if let Some(name) = text("key_column") {
            keys.push(name);
            match named.iter().find(|(known, value)| known.eq_ignore_ascii_case(name) && !value.is_null()) {
                Some((_, value)) => key = value.clone(),
                None => {
                    named.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    key = json!(call.key.to_string());
                    named.push((name, key.clone()));
                }
            }
        }
        let quote = |name: &str| quoted(kind, name);
        Ok(Insert {
            table: text("table").unwrap_or_default().split('.').map(quote).collect::<Result<Vec<_>, _>>()?.join("."),
            columns: named.iter().map(|(name, _)| quote(name)).collect::<Result<_, _>>()?,
            values: named.into_iter().map(|(_, value)| value).collect(),
            keys: keys.into_iter().map(quote).collect::<Result<_, _>>()?,
            key,
            upsert,
        })
    }

    /// Columns that are no key, as in the row.
    pub fn others(&self) -> impl Iterator<Item = (&String, &Value)> {
        let pairs = self.columns.iter().zip(&self.values);
        pairs.filter(|(column, _)| !self.keys.iter().any(|key| key.eq_ignore_ascii_case(column)))
    }

    /// Key columns, as in the row.
    pub fn own(&self) -> impl Iterator<Item = (&String, &Value)> {
        let pairs = self.columns.iter().zip(&self.values);
        pairs.filter(|(column, _)| self.keys.iter().any(|key| key.eq_ignore_ascii_case(column)))
    }

    /// The statement; in MariaDB, which cannot name the key that a conflict is about, without what a conflict leads to.
    pub fn statement(&self, kind: Kind) -> String {
        let marks = vec!["?"; self.columns.len()].join(", ");
        let insert = format!("INSERT INTO {} ({}) VALUES ({marks})", self.table, self.columns.join(", "));
        if self.keys.is_empty() || kind == Kind::MySql {
            return insert;
        }
        let changes: Vec<String> = self.others().map(|(column, _)| format!("{column} = excluded.{column}")).collect();
        let then = if self.upsert && !changes.is_empty() {
            format!("UPDATE SET {}", changes.join(", "))
        } else {
            "NOTHING".to_owned()
        };
        format!("{insert} ON CONFLICT ({}) DO {then}", self.keys.join(", "))
    }
}

/// A name as an identifier; the quotes make any name harmless.
pub(super) fn quoted(kind: Kind, name: &str) -> Result<String, Failure> {
    if name.is_empty() || name.contains('\0') {
        return Err(wrong("a table's or column's name is empty or holds a NUL"));
    }
    let quote = if kind == Kind::MySql { '`' } else { '"' };
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    Ok(format!("{quote}{doubled}{quote}"))
}

/// A statement for PostgreSQL, in pieces: text, and between two pieces the number of a parameter, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    pub texts: Vec<String>,
    pub numbers: Vec<usize>,
}

impl Pieces {
    /// With each parameter written as `write` says.
    pub fn joined(&self, write: impl Fn(usize) -> String) -> String {
        let mut whole = self.texts.first().cloned().unwrap_or_default();
        for (number, text) in self.numbers.iter().zip(self.texts.iter().skip(1)) {
            whole.push_str(&write(*number));
            whole.push_str(text);
        }
        whole
    }
}

/// Finds the parameters of a statement for PostgreSQL: each `?`, or `$1` and so on where there is one of these. What stands in
/// quotes and comments is none, and `??` is the operator `?`.
pub(super) fn pieces(sql: &str) -> Pieces {
    let bytes = sql.as_bytes();
    let mut dollars = Pieces { texts: Vec::new(), numbers: Vec::new() };
    let mut marks = Pieces { texts: Vec::new(), numbers: Vec::new() };
    let (mut of_dollars, mut of_marks, mut at) = (String::new(), String::new(), 0);
    while at < bytes.len() {
        let skipped = skipped(sql, at);
        let (end, number) = if skipped > at {
            (skipped, None)
        } else if bytes[at] == b'$' {
            let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let own = at == 0 || !is_name(bytes[at - 1]);
            (at + 1 + digits, sql[at + 1..at + 1 + digits].parse().ok().filter(|number| own && *number > 0))
        } else {
            // A letter may have several bytes.
            (at + sql[at..].chars().next().map_or(1, char::len_utf8), None)
        };
        let text = &sql[at..end];
        match number {
            Some(number) => {
                dollars.texts.push(std::mem::take(&mut of_dollars));
                dollars.numbers.push(number);
            }
            None => of_dollars.push_str(text),
        }
        if text == "?" && bytes.get(end) == Some(&b'?') {
            of_marks.push('?');
            at = end + 1;
            continue;
        }
        if text == "?" {
            marks.texts.push(std::mem::take(&mut of_marks));
            marks.numbers.push(marks.numbers.len() + 1);
        } else {
            of_marks.push_str(text);
        }
        at = end;
    }
    dollars.texts.push(of_dollars);
    marks.texts.push(of_marks);
    if dollars.numbers.is_empty() { marks } else { dollars }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The end of the quotes or the comment that begins at `at`; `at` itself if none does.
fn skipped(sql: &str, at: usize) -> usize {
    let rest = &sql[at..];
    let after = |found: Option<usize>, length: usize| found.map_or(sql.len(), |found| at + found + length);
    if rest.starts_with("--") {
        return after(rest.find('\n'), 1);
    }
    if rest.starts_with("/*") {
        let (mut depth, mut end) = (1, 2);
        while depth > 0 && end < rest.len() {
            let (step, change) = match &rest.as_bytes()[end..] {
                [b'/', b'*', ..] => (2, 1),
                [b'*', b'/', ..] => (2, -1),
                _ => (1, 0),
            };
            depth += change;
            end += step;
        }
        return at + end.min(rest.len());
    }
    let bytes = sql.as_bytes();
    match bytes[at] {
        quote @ (b'\'' | b'"') => {
            // E'…' knows backslashes.
            let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
            let escapes = quote == b'\'' && matches!(before(1), Some(b'e' | b'E')) && !before(2).is_some_and(is_name);
            let mut end = at + 1;
            while end < bytes.len() {
                match bytes[end] {
                    b'\\' if escapes => end += 1,
                    byte if byte == quote && bytes.get(end + 1) == Some(&quote) => end += 1,
                    byte if byte == quote => return end + 1,
                    _ => {}
                }
                end += 1;
            }
            sql.len()
        }
        b'$' if at == 0 || !is_name(bytes[at - 1]) => {
            let name = rest[1..].bytes().take_while(|byte| is_name(*byte)).count();
            let tagged =
                rest.as_bytes().get(1 + name) == Some(&b'$') && !rest[1..].starts_with(|c: char| c.is_ascii_digit());
            if !tagged {
                return at;
            }
            let tag = &rest[..name + 2];
            after(rest[tag.len()..].find(tag), 2 * tag.len())
        }
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(sql: &str) -> String {
        pieces(sql).joined(|number| format!("${number}"))
    }

    #[test]
    fn question_marks_are_parameters_outside_of_quotes_and_comments() {
        for (sql, becomes) in [
            ("SELECT ?, ? WHERE a = ?", "SELECT $1, $2 WHERE a = $3"),
            ("SELECT '?', \"a?\", 'it''s ?', ?", "SELECT '?', \"a?\", 'it''s ?', $1"),
            ("SELECT E'a\\'?', ? -- why?\n, ?", "SELECT E'a\\'?', $1 -- why?\n, $2"),
            ("SELECT /* ? /* ? */ ? */ ?", "SELECT /* ? /* ? */ ? */ $1"),
            ("SELECT $$?$$, $x$ ? $$ $x$, ?", "SELECT $$?$$, $x$ ? $$ $x$, $1"),
            ("SELECT data ?? 'a' AND x = ?", "SELECT data ? 'a' AND x = $1"),
            ("SELECT $2, $1, data ? 'a'", "SELECT $2, $1, data ? 'a'"),
            ("SELECT $1, data ?? 'a'", "SELECT $1, data ? 'a'"),
            ("SELECT 'größe ?' AS größe, ?", "SELECT 'größe ?' AS größe, $1"),
            ("SELECT 'open ?", "SELECT 'open ?"),
            ("SELECT a$1, ?", "SELECT a$1, $1"),
            ("", ""),
        ] {
            assert_eq!(numbered(sql), becomes, "{sql}");
        }
        assert_eq!(pieces("SELECT $2 + $1").numbers, [2, 1]);
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(quoted(Kind::Postgres, "a\"b").unwrap(), "\"a\"\"b\"");
        assert_eq!(quoted(Kind::MySql, "a`b").unwrap(), "`a``b`");
        assert!(quoted(Kind::Sqlite, "a\0").is_err() && quoted(Kind::Sqlite, "").is_err());
    }
}
