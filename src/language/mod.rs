//! What an editor is told while a person writes: problems, completion, hover, definitions, renaming, the outline.
//!
//! Answers are made of a text, a place in it and the project around it ([`View`]); how they travel is up to
//! `cli/lsp`. Nothing is read but what a [`Project`] has read, or what its callers hand in.

mod complete;
mod cursor;
mod diagnostics;
mod hover;
mod last;
mod occurrences;
mod places;
mod project;
mod rename;
mod schema;
mod seen;
mod spot;
mod steps;
mod symbols;
mod text;
mod view;
mod words;

pub use complete::{Item, complete};
pub use diagnostics::{Diagnostic, diagnostics};
pub use hover::{Hover, hover};
pub use places::definition;
pub use project::Project;
pub use rename::{Renamed, prepare, references, rename};
pub use symbols::{Symbol, symbols};
pub use text::{Position, Range, Text};
pub use view::{Kind, Location, Markup, TextEdit, View};
