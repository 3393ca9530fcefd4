//! Loads the user's folders, watches them, and swaps what is live whole, flow by flow.

use std::sync::Arc;

use crate::flow::Flow;
use crate::run::Digest;

/// A flow that is live, with the definition that its runs pin.
#[derive(Debug)]
pub struct LiveFlow {
    pub flow: Arc<Flow>,
    pub digest: Digest,
    /// The definition's text: flow, schema files and connectors.
    pub definition: Arc<str>,
}
