//! Tables as text, in both directions (RFC 4180).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::args::weight;
use super::print::print;
use super::{Args, Fault, Function, LIST, TEXT, example, maybe, one, string};
use crate::mapping::eval::MAX_BYTES;
use crate::mapping::path::{inside, split};
use crate::schema::Types;

/// Most columns, so that a row that has few of them can't be made large.
const MAX_COLUMNS: usize = 1_000;

pub(super) const ROWS: &[Function] = &[Function {
    name: "csv",
    family: "Conversion",
    params: &[one("value", LIST.or(TEXT)), maybe("columns", LIST.or(Types::NULL)), maybe("separator", TEXT)],
    result: TEXT.or(LIST),
    text: "Of a list of objects (or lists) a table as CSV, its first line the columns: those given (paths such as `address.city` too), or all keys in the order they are met. Of CSV text the list of its rows, as objects by the names in the first line, or by the columns given; the second of two equal names ends in `_2`. Lines end with CR LF.",
    example: example(
        r#"{{csv vars.list}}"#,
        r#"{"vars":{"list":[{"id":1,"name":"Ann"},{"id":2,"name":"Li, \"Bo\""}]}}"#,
        r#""id,name\r\n1,Ann\r\n2,\"Li, \"\"Bo\"\"\"\r\n""#,
    ),
    infer: Some(|args| {
        let text = args.first().is_some_and(|of| of.types.within(Types::STRING));
        let list = args.first().is_some_and(|of| of.types.within(Types::ARRAY));
        crate::schema::Shape::of(match (text, list) {
            (true, _) => LIST,
            (_, true) => TEXT,
            _ => TEXT.or(LIST),
        })
    }),
    run,
}];

fn run(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let columns = columns(args)?;
    let separator = match args.given_text(2)? {
        None => b',',
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => *byte,
            _ => return Err(args.wrong(2, "is not one character such as `;` or a tab")),
        },
    };
    match &*value {
        Value::Array(items) => write(args, items, columns, separator),
        text => read(args, text.as_str().unwrap_or_default(), columns, separator),
    }
}

fn columns(args: Args<'_>) -> Result<Option<Vec<String>>, Fault> {
    if args.len() < 2 {
        return Ok(None);
    }
    let value = args.value(1)?;
    if value.is_null() {
        return Ok(None);
    }
    let names = value.as_array().into_iter().flatten();
    let names: Option<Vec<String>> = names.map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| args.wrong(1, "has an item that is no text, and so no column"))?;
    if names.len() > MAX_COLUMNS {
        return Err(args.wrong(1, "has more than 1000 columns"));
    }
    Ok(Some(names))
}

fn write<'e>(
    args: Args<'e>,
    items: &[Value],
    columns: Option<Vec<String>>,
    separator: u8,
) -> Result<Cow<'e, Value>, Fault> {
    let headed = columns.is_some() || items.iter().any(Value::is_object);
    let columns = match columns {
        Some(columns) => columns,
        None => met(args, items)?,
    };
    let paths: Vec<_> = columns.iter().map(|column| split(column)).collect();
    args.context.meter().work(items.len().saturating_mul(columns.len()))?;
    let mut out = csv::WriterBuilder::new()
        .delimiter(separator)
        .terminator(csv::Terminator::CRLF)
        .flexible(true)
        .from_writer(Vec::new());
    let mut bytes = 0;
    let mut line = |fields: Vec<Cow<'_, str>>| {
        bytes += fields.iter().map(|field| field.len() + 1).sum::<usize>();
        if bytes > MAX_BYTES {
            return Err(Fault::too_large());
        }
        out.write_record(fields.iter().map(|field| field.as_bytes())).map_err(|_| args.wrong(0, "can't be a table"))
    };
    if headed && !columns.is_empty() {
        line(columns.iter().map(|column| Cow::Borrowed(column.as_str())).collect())?;
    }
    for (i, item) in items.iter().enumerate() {
        let field = |(column, path): (&String, &Vec<_>)| inside(item, column, path).map_or(Cow::Borrowed(""), print);
        line(match item {
            Value::Object(_) => columns.iter().zip(&paths).map(field).collect(),
            Value::Array(fields) => fields.iter().map(print).collect(),
            _ => return Err(args.wrong(0, &format!("has at {i} neither an object nor a list, and so no row"))),
        })?;
    }
    let text = out.into_inner().map_err(|_| args.wrong(0, "can't be a table"))?;
    string(String::from_utf8(text).map_err(|_| args.wrong(0, "can't be a table"))?)
}

/// All keys, in the order they are met.
fn met(args: Args<'_>, items: &[Value]) -> Result<Vec<String>, Fault> {
    let mut seen = HashSet::new();
    let keys = items.iter().filter_map(Value::as_object).flat_map(Map::keys);
    let columns: Vec<String> = keys.filter(|key| seen.insert(key.as_str())).take(MAX_COLUMNS + 1).cloned().collect();
    if columns.len() > MAX_COLUMNS {
        return Err(args.wrong(0, "has more than 1000 keys; give the columns"));
    }
    Ok(columns)
}

/// The second of two equal names gets a number behind it: `a`, `a_2`.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut met: HashMap<String, usize> = HashMap::new();
    let rename = |name: String| {
        let count = met.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count == 1 {
            return name;
        }
        loop {
            let new = format!("{name}_{count}");
            if taken.insert(new.clone()) {
                return new;
            }
            *count += 1;
        }
    };
    names.into_iter().map(rename).collect()
}

fn read<'e>(args: Args<'e>, text: &str, columns: Option<Vec<String>>, separator: u8) -> Result<Cow<'e, Value>, Fault> {
    let text = text.trim_start_matches('\u{FEFF}');
    let mut rows =
        csv::ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut columns = columns.map(unique);
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (i, row) in rows.records().enumerate() {
        let row = row.map_err(|error| args.wrong(0, &format!("is not CSV: {error}")))?;
        let Some(names) = &columns else {
            let names: Vec<String> = row.iter().map(str::to_owned).collect();
            if names.len() > MAX_COLUMNS {
                return Err(args.wrong(0, "has more than 1000 columns"));
            }
            columns = Some(unique(names));
            continue;
        };
        if row.len() > names.len() {
            let why = format!("has in row {} more fields than there are columns ({})", i + 1, names.len());
            return Err(args.wrong(0, &why));
        }
        args.context.meter().work(names.len())?;
        // Fields that a row lacks are null.
        let fields = row.iter().map(Value::from).chain(std::iter::repeat(Value::Null));
        let item = Value::Object(names.iter().cloned().zip(fields).collect());
        bytes += weight(&item);
        if bytes > 2 * MAX_BYTES {
            return Err(Fault::too_large());
        }
        all.push(item);
    }
    Ok(Cow::Owned(Value::Array(all)))
}
