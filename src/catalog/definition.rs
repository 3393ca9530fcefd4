//! What a run pins: a flow's text with the files and connectors it was checked against.
//!
//! Content-addressed, so that runs of the same version share one, and readable without the folder it came from. A
//! connector's text is a part of its own: it is larger than most flows, and thousands of them may use one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::LiveFlow;
use crate::connector::{Connector, Connectors};
use crate::flow::{Flow, Known, Problem};
use crate::run::{Digest, Pinned};

/// A flow's text and everything that gave it its meaning.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Definition {
    /// The file, from the project folder.
    pub file: PathBuf,
    pub flow: String,
    /// Files that the flow names, by their paths as written there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// By connector: `sha256:` and the part that holds its file, or the text of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connectors: BTreeMap<String, String>,
}

impl Definition {
    /// The parts as they are stored, of these connectors.
    pub fn seal<'c>(mut self, connectors: impl IntoIterator<Item = &'c Arc<Connector>>) -> (Digest, Pinned) {
        let mut parts = vec![([0; 32], Arc::from(""))];
        self.connectors.clear();
        for connector in connectors {
            self.connectors.insert(connector.name.clone(), format!("sha256:{}", Digest(connector.hash)));
            parts.push((connector.hash, connector.source.clone()));
        }
        let text = serde_json::to_string(&self).expect("texts are plain JSON data");
        let digest = Digest(Sha256::digest(text.as_bytes()).into());
        parts[0] = (digest.0, text.into());
        (digest, parts.into())
    }

    /// Reads a definition again, as a run that began with it sees it: with its own connectors. `part` gives the text
    /// of a part by its hash.
    ///
    /// # Errors
    /// If this binary no longer understands it, or a part is not to be had.
    pub fn open(text: &str, part: impl Fn(&[u8; 32]) -> Result<Option<String>, String>) -> Result<LiveFlow, String> {
        let mut definition: Definition = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, text) in &mut definition.connectors {
            let Some(hash) = text.strip_prefix("sha256:") else { continue };
            let hash: Digest = hash.parse()?;
            *text = part(&hash.0)?.ok_or_else(|| format!("the text of the connector {name} is gone"))?;
        }
        let sources = definition.connectors.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let (connectors, broken) = Connectors::from_sources(sources);
        if let Some(problem) = broken.first() {
            return Err(problem.to_string());
        }
        let read = |path: &str| definition.files.get(path).cloned().ok_or_else(|| "it is not in the definition".into());
        let known = Known { connectors: &connectors, connections: None, env: None, read: &read };
        let loaded = Flow::load(&definition.file, &definition.flow, &known);
        let file = definition.file.clone();
        let of_it: Vec<_> = definition.connectors.keys().filter_map(|name| connectors.get(name)).cloned().collect();
        let (digest, definition) = definition.seal(&of_it);
        match loaded.flow {
            Some(flow) => Ok(LiveFlow { flow: Arc::new(flow), digest, definition, file }),
            None => Err(loaded.problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_a_definition_that_later_checks_would_refuse() {
        let flow = "trigger: {type: request}\nsteps:\n  - id: tell\n    when: '{{less \"a\" 5}}'\n    action: http.request\n    with: {url: 7}\n";
        let (connectors, none) = (Connectors::shipped(), BTreeMap::new());
        let read = |_: &str| Err("there is no other file".to_owned());
        let known = Known { connectors: &connectors, connections: Some(&none), env: None, read: &read };
        let loaded = Flow::load(std::path::Path::new("flows/lead.yaml"), flow, &known);
        let codes: Vec<&str> = loaded.problems.iter().map(|problem| problem.code.as_str()).collect();
        assert!(loaded.flow.is_none() && codes.contains(&"E-MAP-012") && codes.contains(&"E-FLOW-016"), "{codes:?}");

        let pinned = |flow: &str| Definition {
            file: "flows/lead.yaml".into(),
            flow: flow.into(),
            files: BTreeMap::new(),
            connectors: BTreeMap::new(),
        };
        assert_eq!(Definition::open(&pinned(flow).seal([]).1[0].1, |_| Ok(None)).unwrap().flow.steps.steps.len(), 1);
        assert!(
            Definition::open(&pinned("trigger: {type: request}\nsteps: 5\n").seal([]).1[0].1, |_| Ok(None)).is_err()
        );
    }

    #[test]
    fn a_connectors_text_is_a_part_that_all_share_and_nothing_is_opened_without_it() {
        let connectors = Connectors::shipped();
        let http = connectors.get("http").unwrap();
        let sealed = |url: &str| {
            let flow = format!(
                "trigger: {{type: request}}\nsteps:\n  - {{id: tell, action: http.request, with: {{url: \"{url}\", method: GET}}}}\n"
            );
            let (files, connectors) = (BTreeMap::new(), BTreeMap::new());
            Definition { file: "flows/lead.yaml".into(), flow, files, connectors }.seal([http])
        };
        let ((one, pinned), (other, also)) = (sealed("http://a.example/"), sealed("http://b.example/"));
        assert!(one != other && Arc::ptr_eq(&pinned[1].1, &also[1].1));
        assert!(pinned[0].1.len() < 300, "{}", pinned[0].1);

        let part = |hash: &[u8; 32]| Ok((*hash == http.hash).then(|| http.source.to_string()));
        let live = Definition::open(&pinned[0].1, part).unwrap();
        assert_eq!((live.digest, &live.definition), (one, &pinned));
        assert_eq!(live.flow.connectors, ["http"]);
        let lost = Definition::open(&pinned[0].1, |_| Ok(None)).unwrap_err();
        assert_eq!(lost, "the text of the connector http is gone");
        // As it was stored once, with the text in place.
        let before = pinned[0].1.replace(&format!("sha256:{}", Digest(http.hash)), "TEXT");
        let before = before.replace("\"TEXT\"", &serde_json::to_string(&*http.source).unwrap());
        assert_eq!(Definition::open(&before, |_| Ok(None)).unwrap().digest, one);
    }
}
