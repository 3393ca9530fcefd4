//! What helps to write files: drafts of flows and tests from samples, schemas for editors, graphs, and formatting.
//!
//! Pure: files are read and written by `cli`.

mod connector_page;
mod curl;
mod draft;
mod editor;
mod exchange;
mod fields;
mod format;
mod graph;
mod infer;
mod sample;
mod yaml;

pub use connector_page::{connector_page, connector_table};
pub use draft::{Draft, Wish, choose, connection};
pub use editor::{KINDS, Known, schema as editor_schema};
pub use exchange::{Described, Exchange};
pub use format::{Unsafe, format};
pub use graph::{mermaid, tree};
pub use infer::{is_schema, schema as infer_schema};
pub use yaml::write as write_yaml;
