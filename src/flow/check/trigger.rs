//! Checks `trigger:`.

use super::*;

impl Checker<'_> {
    pub(super) fn schema(&mut self, schema: &SchemaFile) -> Option<Schema> {
        let at = "/trigger/schema";
        let value = match schema {
            SchemaFile::Inline(value) => value.clone(),
            SchemaFile::File(path) => {
                self.files.push(path.clone());
                let text = (self.known.read)(path);
                let hint = Some("the path starts at the folder of this flow's file".to_owned());
                let text = text
                    .map_err(|why| {
                        let why = why.split(" (os error").next().unwrap_or_default().to_owned();
                        self.say(problem::NO_FILE, at, At::Value, format!("`{path}`: {why}"), hint);
                    })
                    .ok()?;
                let parsed = serde_json::from_str(&text).or_else(|_| serde_yaml::from_str(&text));
                parsed
                    .map_err(|error| {
                        let what = format!("`{path}` is neither JSON nor YAML: {error}");
                        self.say(problem::NO_FILE, at, At::Value, what, None);
                    })
                    .ok()?
            }
        };
        let compiled = Schema::compile(&value);
        compiled
            .map_err(|error| {
                let inline = matches!(schema, SchemaFile::Inline(_));
                let pointer = if inline { format!("{at}{}", error.pointer) } else { at.to_owned() };
                let place = if inline { String::new() } else { format!(" (at `{}`)", error.pointer) };
                let hint = error.pointer.ends_with("/type").then(|| {
                    "a type is array, boolean, integer, null, number, object or string, or a list of these".to_owned()
                });
                self.say(problem::BAD_SCHEMA, &pointer, At::Value, format!("{}{place}", error.what), hint);
            })
            .ok()
    }

    pub(super) fn dedupe(&mut self, read: DedupeFile, reach: &InReach<'_>) -> Dedupe {
        let mut key = Vec::new();
        for (index, text) in read.key.iter().enumerate() {
            let at = format!("/trigger/dedupe/key/{index}");
            key.extend(self.template(text, &at, reach).map(|(template, _)| template));
        }
        if !key.is_empty() && key.iter().all(Template::is_literal) {
            let what = "the key is the same for every request, so only one would be let in".to_owned();
            let hint = Some("name what tells requests apart, as in `{{trigger.body.id}}`".to_owned());
            self.say(problem::BAD_VALUE, "/trigger/dedupe/key", At::Value, what, hint);
        }
        Dedupe { key, window: read.window }
    }
}
