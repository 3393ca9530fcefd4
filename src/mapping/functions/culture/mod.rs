//! What a language and region call days and months, and how they write dates and numbers.
//!
//! The table is Unicode's CLDR in .NET's spelling (`cultures.txt`, by `cldr.py`); a culture is read from it when it is
//! first asked for.

use std::collections::HashMap;
use std::sync::OnceLock;

/// One culture, as .NET's `DateTimeFormatInfo` and `NumberFormatInfo` know it.
#[derive(Debug)]
pub(super) struct Culture {
    /// From Sunday.
    pub days: Vec<&'static str>,
    pub days_short: Vec<&'static str>,
    /// The month by itself (`март`) and with a day (`марта`).
    pub months: Vec<&'static str>,
    pub months_of: Vec<&'static str>,
    pub months_short: Vec<&'static str>,
    pub months_short_of: Vec<&'static str>,
    pub halves: [&'static str; 2],
    /// .NET's standard patterns `d`, `D`, `t`, `T`, `M`, `Y`.
    pub date: &'static str,
    pub long_date: &'static str,
    pub time: &'static str,
    pub long_time: &'static str,
    pub month_day: &'static str,
    pub year_month: &'static str,
    /// What `/` and `:` stand for in a pattern.
    pub date_separator: &'static str,
    pub time_separator: &'static str,
    pub decimal: &'static str,
    pub group: &'static str,
    /// How many digits stand in each group, from the point; the last goes on.
    pub sizes: Vec<usize>,
    pub permille: &'static str,
    /// `n` is the number: `n %`.
    pub percent: &'static str,
    pub percent_sign: &'static str,
    pub money: &'static str,
    pub debt: &'static str,
    pub money_digits: usize,
}

struct Entry {
    parent: Option<usize>,
    fields: Vec<(&'static str, &'static str)>,
    built: OnceLock<Culture>,
}

struct Table {
    entries: Vec<Entry>,
    /// By lower-case name.
    names: HashMap<String, usize>,
}

const TEXT: &str = include_str!("cultures.txt");

/// The culture of this name (`de-DE`, `fr`, `zh-Hant-TW`), ignoring case; the empty name is .NET's invariant culture.
pub(super) fn find(name: &str) -> Option<&'static Culture> {
    let table = table();
    let name = if name.is_empty() { "invariant" } else { name };
    let at = *table.names.get(&name.trim().replace('_', "-").to_lowercase())?;
    Some(table.entries[at].built.get_or_init(|| build(table, at)))
}

/// The culture that is meant where none is named.
pub(super) fn default() -> &'static Culture {
    find("en-US").expect("the table holds en-US, a test asks for it")
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table { entries: Vec::new(), names: HashMap::new() };
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let (names, parent) = head.split_once(" < ").map_or((head, None), |(names, p)| (names, Some(p)));
                let parent = parent.and_then(|parent| table.names.get(&parent.to_lowercase()).copied());
                let at = table.entries.len();
                table.names.extend(names.split(' ').map(|name| (name.to_lowercase(), at)));
                table.entries.push(Entry { parent, fields: Vec::new(), built: OnceLock::new() });
            } else if let (Some((key, value)), Some(entry)) = (line.split_once('='), table.entries.last_mut()) {
                entry.fields.push((key, value));
            }
        }
        table
    })
}

fn build(table: &Table, at: usize) -> Culture {
    let field = |key: &str| {
        let mut next = Some(at);
        while let Some(entry) = next.and_then(|at| table.entries.get(at)) {
            if let Some((_, value)) = entry.fields.iter().find(|(name, _)| *name == key) {
                return *value;
            }
            next = entry.parent;
        }
        ""
    };
    let list = |key: &str| field(key).split('|').collect::<Vec<_>>();
    let (date, time, percent) = (field("date"), field("time"), field("percent"));
    let halves = list("ampm");
    Culture {
        days: list("days"),
        days_short: list("ddd"),
        months: list("months"),
        months_of: list("months_of"),
        months_short: list("mmm"),
        months_short_of: list("mmm_of"),
        halves: [halves.first().copied().unwrap_or_default(), halves.get(1).copied().unwrap_or_default()],
        date,
        long_date: field("long"),
        time,
        long_time: field("seconds"),
        month_day: field("day"),
        year_month: field("month"),
        date_separator: between(date, "/"),
        time_separator: between(time.trim_start_matches(['t', ' ']), ":"),
        decimal: field("decimal"),
        group: field("group"),
        sizes: list("sizes").iter().filter_map(|size| size.parse().ok()).collect(),
        permille: field("permille"),
        percent,
        percent_sign: percent.trim_matches(|c: char| c == 'n' || c.is_whitespace()),
        money: field("money"),
        debt: field("debt"),
        money_digits: field("money_digits").parse().unwrap_or(2),
    }
}

/// What stands between the first two fields of a pattern.
fn between(pattern: &'static str, otherwise: &'static str) -> &'static str {
    let rest = pattern.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    match rest.find(|c: char| c.is_ascii_alphabetic()) {
        Some(end) if end > 0 && !rest[..end].contains('\'') => &rest[..end],
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_culture_is_whole() {
        let table = table();
        assert!(table.entries.len() > 300);
        for (name, at) in &table.names {
            let culture = build(table, *at);
            for names in [&culture.months, &culture.months_of, &culture.months_short, &culture.months_short_of] {
                assert_eq!(names.len(), 12, "{name}");
            }
            assert_eq!((culture.days.len(), culture.days_short.len()), (7, 7), "{name}");
            let texts =
                [culture.date, culture.long_date, culture.time, culture.decimal, culture.group, culture.halves[1]];
            assert!(texts.iter().all(|text| !text.is_empty()), "{name}: {texts:?}");
            assert!(
                culture.money.contains('n') && culture.debt.contains('n') && culture.percent.contains('n'),
                "{name}"
            );
            assert!(!culture.sizes.is_empty() && culture.sizes.iter().all(|size| *size > 0), "{name}");
        }
    }

    #[test]
    fn names_ignore_case_and_know_the_usual_region() {
        let must = "en-US en-GB de de-DE fr-fr es-es it-IT nl-NL pt-BR pt-PT pl-PL sv-SE da-DK nb-NO no fi-FI is-is cs-CZ \
                    tr-TR ja-JP zh-CN zh-TW zh-HK ko-KR ru-RU uk-UA sr-RS de_AT";
        for name in must.split_whitespace() {
            assert!(find(name).is_some(), "{name}");
        }
        assert_eq!(default().date, "M/d/yyyy");
        assert_eq!(find("DE-at").map(|culture| culture.months[0]), Some("Jänner"));
        assert_eq!(find("").map(|culture| culture.date), Some("MM/dd/yyyy"));
        assert!(find("xx-YY").is_none() && find(" ").is_none());
    }
}
