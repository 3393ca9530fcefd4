//! `data`: CSV, XML and JSON lines, read and made. Pure: nothing leaves the process, so flow tests need no mock for it.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::super::Call;
use crate::connector::{Class, Failure, plain_text};
use crate::mapping::{functions, parse_json_text};

/// Most columns of a table.
const MAX_COLUMNS: usize = 1000;

pub(super) fn compute(call: &Call<'_>) -> Result<Value, Failure> {
    match call.action {
        "parse_csv" => parse_csv(call),
        "make_csv" => make_csv(call),
        "parse_xml" => {
            let value = functions::xml_to_json(text(call)).map_err(|why| wrong(format!("`text` {why}")))?;
            fitting(call, json!({}), "value", value)
        }
        "make_xml" => {
            let Some(map) = call.input.get("value").and_then(Value::as_object) else {
                return Err(wrong("`value` is no object".to_owned()));
            };
            let text = functions::json_to_xml(map).map_err(|why| wrong(format!("`value` {why}")))?;
            fitting(call, json!({}), "text", Value::String(text))
        }
        "parse_json_lines" => parse_lines(call),
        "make_json_lines" => {
            let mut text = String::new();
            for row in call.input.get("rows").and_then(Value::as_array).into_iter().flatten() {
                text.push_str(&row.to_string());
                text.push('\n');
                within(call, text.len())?;
            }
            Ok(json!({"text": text}))
        }
        _ => Err(super::unknown(call)),
    }
}

fn wrong(what: String) -> Failure {
    Failure::new(Class::Permanent, "data.input", what)
}

fn text<'c>(call: &Call<'c>) -> &'c str {
    let text = call.input.get("text").and_then(Value::as_str).unwrap_or_default();
    text.trim_start_matches('\u{FEFF}')
}

/// Refuses what would be longer than an output may be, before all of it is there.
fn within(call: &Call<'_>, bytes: usize) -> Result<(), Failure> {
    if bytes <= call.output_limit {
        return Ok(());
    }
    let (name, limit) = (call.name(), call.output_limit);
    let what =
        format!("what {name} gives is longer than {limit} bytes; raise `limits.output_bytes` in millstream.yaml");
    Err(Failure::new(Class::Permanent, "outbound.response_too_large", what))
}

/// Moved in, since `json!` would copy the value through serde and respell exponents.
fn fitting(call: &Call<'_>, mut output: Value, key: &str, value: Value) -> Result<Value, Failure> {
    output[key] = value;
    within(call, output.to_string().len())?;
    Ok(output)
}

/// One ASCII character of an option.
fn letter(call: &Call<'_>, key: &str, default: u8) -> Result<u8, Failure> {
    let Some(text) = call.input.get(key).and_then(Value::as_str) else { return Ok(default) };
    match text.as_bytes() {
        [letter] if letter.is_ascii() && !matches!(letter, b'\r' | b'\n') => Ok(*letter),
        _ => Err(wrong(format!("`{key}` is one ASCII character, as in \",\""))),
    }
}

fn flag(call: &Call<'_>, key: &str, default: bool) -> bool {
    call.input.get(key).and_then(Value::as_bool).unwrap_or(default)
}

fn named_columns(call: &Call<'_>) -> Option<Vec<String>> {
    let listed = call.input.get("columns")?.as_array()?;
    Some(listed.iter().filter_map(plain_text).collect())
}

fn parse_csv(call: &Call<'_>) -> Result<Value, Failure> {
    let trim = if flag(call, "trim", false) { csv::Trim::All } else { csv::Trim::None };
    let mut table = csv::ReaderBuilder::new()
        .delimiter(letter(call, "delimiter", b',')?)
        .quote(letter(call, "quote", b'"')?)
        .trim(trim)
        .has_headers(false)
        .flexible(true)
        .from_reader(text(call).as_bytes());
    let mut records = table.records();
    let read = |record: Result<csv::StringRecord, csv::Error>| {
        record.map_err(|error| wrong(format!("`text` is no table: {error}")))
    };
    let mut first = None;
    if flag(call, "header", true) {
        first = records.next().map(read).transpose()?;
    }
    let columns = match (named_columns(call), first) {
        (Some(columns), _) => columns,
        (None, Some(first)) => first.iter().map(str::to_owned).collect(),
        (None, None) if flag(call, "header", true) => Vec::new(),
        (None, None) => return Err(wrong("without a header row, `columns` must name the columns".to_owned())),
    };
    if columns.len() > MAX_COLUMNS {
        return Err(wrong(format!("a table has at most {MAX_COLUMNS} columns")));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|column| !seen.insert(column.as_str())) {
        return Err(wrong(format!("two columns are called `{twice}`; name them with `columns`")));
    }
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (index, record) in records.enumerate() {
        let record = read(record)?;
        if record.len() > columns.len() {
            let (row, fields, named) = (index + 1, record.len(), columns.len());
            return Err(wrong(format!("row {row} has {fields} fields, and there are {named} columns")));
        }
        // Fields that a row lacks are null.
        let fields = record.iter().map(Value::from).chain(std::iter::repeat(Value::Null));
        let row: Map<String, Value> = columns.iter().cloned().zip(fields).collect();
        bytes += row.iter().map(|(key, value)| key.len() + value.as_str().map_or(4, str::len) + 6).sum::<usize>();
        within(call, bytes)?;
        rows.push(Value::Object(row));
    }
    Ok(json!({"rows": rows, "columns": columns}))
}

fn make_csv(call: &Call<'_>) -> Result<Value, Failure> {
    let rows = call.input.get("rows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns = match named_columns(call) {
        Some(columns) => columns,
        None => {
            let mut seen = HashSet::new();
            let keys = rows.iter().filter_map(Value::as_object).flat_map(Map::keys);
            keys.filter(|key| seen.insert(key.as_str())).take(MAX_COLUMNS + 1).cloned().collect()
        }
    };
    if columns.len() > MAX_COLUMNS {
        return Err(wrong(format!("a table has at most {MAX_COLUMNS} columns")));
    }
    let line_end = match call.input.get("line_end").and_then(Value::as_str) {
        Some("\n") => csv::Terminator::Any(b'\n'),
        _ => csv::Terminator::CRLF,
    };
    let style = if flag(call, "quote_all", false) { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
    let mut table = csv::WriterBuilder::new()
        .delimiter(letter(call, "delimiter", b',')?)
        .quote(letter(call, "quote", b'"')?)
        .quote_style(style)
        .terminator(line_end)
        .flexible(true)
        .from_writer(Vec::new());
    let broken = |error: csv::Error| wrong(format!("no table can be made of it: {error}"));
    if flag(call, "header", true) && !columns.is_empty() {
        table.write_record(&columns).map_err(broken)?;
    }
    let guarded = flag(call, "safe_for_spreadsheets", false);
    let mut bytes = 0;
    for (index, row) in rows.iter().enumerate() {
        let field = |value: Option<&Value>| {
            let text = value.and_then(plain_text).unwrap_or_default();
            let formula = guarded && text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
            if formula { format!("'{text}") } else { text }
        };
        let fields: Vec<String> = match row {
            Value::Object(row) => columns.iter().map(|column| field(row.get(column))).collect(),
            Value::Array(fields) => fields.iter().map(|value| field(Some(value))).collect(),
            _ => return Err(wrong(format!("item {index} of `rows` is neither an object nor a list"))),
        };
        bytes += fields.iter().map(|field| field.len() + 1).sum::<usize>();
        within(call, bytes)?;
        table.write_record(&fields).map_err(broken)?;
    }
    let made = table.into_inner().map_err(|error| wrong(format!("no table can be made of it: {error}")))?;
    let text = String::from_utf8(made).map_err(|_| wrong("no table can be made of it".to_owned()))?;
    fitting(call, json!({}), "text", Value::String(text))
}

fn parse_lines(call: &Call<'_>) -> Result<Value, Failure> {
    let mut rows = Vec::new();
    for (index, line) in text(call).lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = parse_json_text(line).map_err(|error| wrong(format!("line {} is not JSON: {error}", index + 1)))?;
        rows.push(value);
    }
    fitting(call, json!({}), "rows", Value::Array(rows))
}
