//! What must follow the key in a flow's URL: `customers/{id}`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A pattern of segments.
///
/// ```
/// # use millstream::flow::PathPattern;
/// let pattern = PathPattern::parse("customers/{id}").unwrap();
/// let found = pattern.matches(["customers", "7"].map(String::from)).unwrap();
/// assert_eq!(found["id"], "7");
/// assert!(pattern.matches(["customers"].map(String::from)).is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<Segment>);

/// One part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    /// Matches one segment that is not empty, and gives it this name.
    Parameter(String),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<PathPattern, String> {
        let mut names = BTreeSet::new();
        let mut segments = Vec::new();
        for part in text.trim_matches('/').split('/') {
            let inner = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            let segment = match inner {
                _ if part.is_empty() => return Err("the path has an empty part".to_owned()),
                Some(name) if !super::super::is_name(name) => {
                    return Err(format!("`{{{name}}}` is no parameter: small letters, digits and `_`, a letter first"));
                }
                Some(name) if !names.insert(name) => return Err(format!("`{{{name}}}` is there twice")),
                Some(name) => Segment::Parameter(name.to_owned()),
                None if part.contains(['{', '}']) => {
                    return Err(format!("`{part}`: a parameter is a whole part between slashes, as in `{{id}}`"));
                }
                None if part.contains(['?', '#']) => {
                    return Err(format!("`{part}`: a path ends where a query begins; see `trigger.query`"));
                }
                None => Segment::Literal(part.to_owned()),
            };
            segments.push(segment);
        }
        Ok(PathPattern(segments))
    }

    /// The parameters' values if these segments, each decoded, are as the pattern wants them.
    pub fn matches(&self, segments: impl IntoIterator<Item = String>) -> Option<Map<String, Value>> {
        let mut found = Map::new();
        let mut segments = segments.into_iter();
        for wanted in &self.0 {
            let given = segments.next()?;
            match wanted {
                Segment::Literal(text) if *text == given => {}
                Segment::Parameter(name) if !given.is_empty() => {
                    found.insert(name.clone(), Value::String(given));
                }
                Segment::Literal(_) | Segment::Parameter(_) => return None,
            }
        }
        segments.next().is_none().then_some(found)
    }

    /// The path that has these parameters; one that is missing stays as the pattern has it.
    pub fn fill(&self, parameters: &Map<String, Value>) -> String {
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Parameter(name) => match parameters.get(name).and_then(Value::as_str) {
                Some(value) => value.to_owned(),
                None => format!("{{{name}}}"),
            },
        };
        self.0.iter().map(part).collect::<Vec<_>>().join("/")
    }

    /// Names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, path: &[&str]) -> Option<Value> {
        let pattern = PathPattern::parse(pattern).expect("the pattern is good");
        pattern.matches(path.iter().map(|part| (*part).to_owned())).map(Value::Object)
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        let both = serde_json::json!({"id": "a/b", "order": "7"});
        assert_eq!(find("customers/{id}/orders/{order}", &["customers", "a/b", "orders", "7"]), Some(both));
        assert_eq!(find("/a/", &["a"]), Some(serde_json::json!({})));
        for path in [&["customers"][..], &["customers", ""], &["customers", "1", "2"], &["Customers", "1"], &[]] {
            assert_eq!(find("customers/{id}", path), None, "{path:?}");
        }
    }

    #[test]
    fn a_pattern_with_its_parameters_is_the_path_again() {
        let pattern = PathPattern::parse("customers/{id}/orders").expect("the pattern is good");
        let found = pattern.matches(["customers", "7", "orders"].map(String::from)).expect("it matches");
        assert_eq!(pattern.fill(&found), "customers/7/orders");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["", "/", "a//b", "{id}/{id}", "x{id}", "{Id}", "{}", "a?b=c", "{a", "a}"] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
