//! What a connector's file says of itself: how it was proved, and the pages that it was written from.

use super::*;
use crate::connector::{Proof, ProofKind};

impl Reader<'_> {
    pub(super) fn proof(&mut self, value: Option<&Value>) -> Option<Proof> {
        let at = "/proof";
        let fields = self.object(at, value?, &["kind", "by", "unverified"])?;
        let kind = self.required_text(at, fields, "kind")?;
        let Some((_, kind)) = ProofKind::NAMES.into_iter().find(|(name, _)| *name == kind) else {
            let names = ProofKind::NAMES.map(|(name, _)| name).join(", ");
            self.wrong("E-CON-004", "/proof/kind", format!("it is one of {names}"), None);
            return None;
        };
        let by = self.required_text(at, fields, "by")?;
        Some(Proof { kind, by, unverified: self.texts("/proof/unverified", fields.get("unverified")) })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, at: &str, value: Option<&Value>) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        let texts: Option<Vec<String>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.unwrap_or_else(|| {
            self.wrong("E-CON-004", at, "it is a list of texts".into(), None);
            Vec::new()
        })
    }
}
