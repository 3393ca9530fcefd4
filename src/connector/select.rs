//! JSONPath, compiled once: where in an answer a value is.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A compiled JSONPath.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    query: JpQuery,
    /// True if it can find more than one value, so that it always gives an array.
    many: bool,
}

impl Selection {
    /// Compiles `text`. More than one `..` is refused: nested descents take exponential time.
    pub fn parse(text: &str) -> Result<Selection, String> {
        if !text.starts_with('$') {
            return Err("a JSONPath starts with `$`".into());
        }
        if text.matches("..").count() > 1 {
            return Err("a JSONPath may hold `..` once: nested descents take exponential time".into());
        }
        let query = parse_json_path(text).map_err(|error| format!("it is not a JSONPath: {error}"))?;
        let many = text.contains("..") || text.contains('*') || text.contains('?') || slices(text);
        Ok(Selection { query, many })
    }

    /// The value there: the first, or all as an array where the path can find several. `None` if there is none.
    pub fn find(&self, value: &Value) -> Option<Value> {
        let found = js_path_process(&self.query, value).ok()?;
        if self.many {
            return Some(Value::Array(found.into_iter().map(|one| one.val.clone()).collect()));
        }
        found.into_iter().next().map(|one| one.val.clone())
    }
}

/// True if some bracket holds a slice or a list, outside of quotes.
fn slices(text: &str) -> bool {
    let mut quote = None;
    let mut depth = 0;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') => depth -= 1,
            (None, ':' | ',') if depth > 0 => return true,
            (None, _) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_one_value_and_a_path_with_a_star_finds_a_list() {
        let value = json!({"error": {"code": "x"}, "@odata.count": 2, "value": [{"id": 1}, {"id": 2}]});
        let find = |path: &str| Selection::parse(path).unwrap().find(&value);
        assert_eq!(find("$.error.code"), Some(json!("x")));
        assert_eq!(find("$['@odata.count']"), Some(json!(2)));
        assert_eq!(find("$.value[*].id"), Some(json!([1, 2])));
        assert_eq!(find("$.value[0:1].id"), Some(json!([1])));
        assert_eq!(find("$.nothing.here"), None);
    }

    #[test]
    fn a_path_that_would_take_exponential_time_is_refused() {
        assert!(Selection::parse("$..a..a..a").is_err());
        assert!(Selection::parse("error.code").is_err());
        assert!(Selection::parse("$.[").is_err());
    }
}
