//! Single values of a connector's file, each with its place in what is reported.

use super::*;

impl Reader<'_> {
    /// The object at `at`, each of whose keys is one of `keys`.
    pub(super) fn object<'v>(&mut self, at: &str, value: &'v Value, keys: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(object) = value else {
            self.wrong("E-CON-004", at, format!("it is an object with the keys {}", keys.join(", ")), None);
            return None;
        };
        for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
            let near = keys.iter().map(|known| (strsim::damerau_levenshtein(known, key), known)).min();
            let hint = match near {
                Some((distance, known)) if distance <= 2 => format!("did you mean `{known}`?"),
                _ => format!("known here: {}", keys.join(", ")),
            };
            self.wrong(UNKNOWN_KEY, &format!("{at}/{key}"), format!("unknown key `{key}`"), Some(hint));
        }
        Some(object)
    }

    pub(super) fn text(&mut self, at: &str, value: Option<&Value>) -> Option<String> {
        match value? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong("E-CON-004", at, "it is a text".into(), None);
                None
            }
        }
    }

    pub(super) fn required_text(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<String> {
        if !fields.contains_key(key) {
            self.missing(at, key, &format!("{key}: …"));
        }
        self.text(&format!("{at}/{key}"), fields.get(key))
    }

    pub(super) fn name(&mut self, at: &str, value: Option<&Value>) -> Option<String> {
        let Some(value) = value else {
            self.missing("", "connector", "connector: my_system");
            return None;
        };
        let name = self.text(at, Some(value))?;
        self.snake(at, &name);
        Some(name)
    }

    pub(super) fn snake(&mut self, at: &str, name: &str) {
        let mut letters = name.chars();
        let start = letters.next().is_some_and(|letter| letter.is_ascii_lowercase());
        if !start || !letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_') {
            let what = format!("`{name}` is not a name: a small letter, then small letters, digits and `_`");
            self.wrong("E-CON-004", at, what, None);
        }
    }

    pub(super) fn flag(&mut self, at: &str, value: Option<&Value>, default: bool) -> bool {
        match value {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong("E-CON-004", at, "it is `true` or `false`".into(), None);
                default
            }
        }
    }

    pub(super) fn duration(&mut self, at: &str, value: Option<&Value>) -> Option<Duration> {
        let text = value?.as_str().unwrap_or_default();
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let per_unit = match &text[digits.len()..] {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let found = digits.parse::<u64>().ok().zip(per_unit).and_then(|(count, unit)| count.checked_mul(unit));
        if found.is_none() {
            self.wrong("E-CON-004", at, "it is a time such as `500ms`, `30s`, `5m` or `1h`".into(), None);
        }
        found.map(Duration::from_millis)
    }

    pub(super) fn schema(&mut self, at: &str, value: &Value) -> Option<Schema> {
        match Schema::compile(value) {
            Ok(schema) => Some(schema),
            Err(error) => {
                self.wrong("E-CON-007", &format!("{at}{}", error.pointer), error.what, None);
                None
            }
        }
    }

    pub(super) fn selection(&mut self, at: &str, value: &Value) -> Option<Selection> {
        match Selection::parse(value.as_str().unwrap_or_default()) {
            Ok(selection) => Some(selection),
            Err(what) => {
                self.wrong("E-CON-004", at, what, Some("as in `$.error.code`".into()));
                None
            }
        }
    }

    /// One JSONPath, or a list of them.
    pub(super) fn selections(&mut self, at: &str, value: Option<&Value>) -> Vec<Selection> {
        match value {
            None => Vec::new(),
            Some(Value::Array(paths)) => {
                let paths = paths.iter().enumerate();
                paths.filter_map(|(index, path)| self.selection(&format!("{at}/{index}"), path)).collect()
            }
            Some(one) => self.selection(at, one).into_iter().collect(),
        }
    }

    /// A text that may hold templates; numbers and booleans stand for their text.
    pub(super) fn template(&mut self, at: &str, value: &Value, input: &Shape, response: bool) -> Option<Template> {
        self.template_and_shape(at, value, input, response).map(|(template, _)| template)
    }

    pub(super) fn template_and_shape(
        &mut self,
        at: &str,
        value: &Value,
        input: &Shape,
        response: bool,
    ) -> Option<(Template, Shape)> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.wrong("E-CON-004", at, "it is a text".into(), None);
                return None;
            }
        };
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(error) => {
                self.unparsed(at, error);
                return None;
            }
        };
        let settings = self.settings.clone();
        let (shape, findings) = template.check(&Known { settings: &settings, input, response, token: self.token });
        self.findings(findings.into_iter().map(|finding| (at.to_owned(), finding)));
        Some((template, shape))
    }

    pub(super) fn mapping(&mut self, at: &str, value: &Value, input: &Shape) -> Option<Mapping> {
        match Mapping::parse(value) {
            Ok(mapping) => {
                let settings = self.settings.clone();
                let (_, findings) =
                    mapping.check(&Known { settings: &settings, input, response: false, token: self.token });
                self.findings(findings.into_iter().map(|(pointer, finding)| (format!("{at}{pointer}"), finding)));
                Some(mapping)
            }
            Err(errors) => {
                for (pointer, error) in errors {
                    self.unparsed(&format!("{at}{pointer}"), error);
                }
                None
            }
        }
    }

    pub(super) fn templates(&mut self, at: &str, value: Option<&Value>, input: &Shape) -> Vec<(String, Template)> {
        let templates = self.each_template(at, value, input);
        for (name, _) in &templates {
            self.header_name(&format!("{at}/{name}"), name);
        }
        templates
    }

    pub(super) fn each_template(&mut self, at: &str, value: Option<&Value>, input: &Shape) -> Vec<(String, Template)> {
        match value {
            None => Vec::new(),
            Some(Value::Object(fields)) => {
                let mut templates = Vec::new();
                for (name, value) in fields {
                    if let Some(template) = self.template(&format!("{at}/{name}"), value, input, false) {
                        templates.push((name.clone(), template));
                    }
                }
                templates
            }
            Some(_) => {
                self.wrong("E-CON-004", at, "it is an object of names and texts".into(), None);
                Vec::new()
            }
        }
    }

    pub(super) fn header_name(&mut self, at: &str, name: &str) {
        if let Err(failure) = crate::connector::safe_header(name, "") {
            self.wrong("E-CON-004", at, failure.message, None);
        }
    }

    fn findings(&mut self, findings: impl Iterator<Item = (String, Finding)>) {
        for (at, finding) in findings.filter(|(_, finding)| finding.certain) {
            let what = format!("{} ({})", finding.what, finding.code);
            self.wrong("E-CON-006", &at, what, finding.hint);
        }
    }

    fn unparsed(&mut self, at: &str, error: ParseError) {
        let what = format!("{} ({}, at byte {})", error.what, error.code, error.offset);
        self.wrong("E-CON-006", at, what, error.hint);
    }

    pub(super) fn missing(&mut self, at: &str, key: &str, example: &str) {
        self.wrong("E-CON-003", at, format!("`{key}` is missing"), Some(format!("add `{example}`")));
    }

    pub(super) fn wrong(&mut self, code: &'static str, at: &str, what: String, hint: Option<String>) {
        self.problems.push(Problem { code, file: self.file.into(), pointer: at.into(), what, hint });
    }
}
