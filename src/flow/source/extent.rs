//! Where things stand in a file from their first character to their last, for editors.

use saphyr_parser::Span;

use super::{Mark, Source};

/// A part of a file: lines and columns, both from 1 and in characters; the end is the first that is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub start: (usize, usize),
    pub end: (usize, usize),
}

impl Source {
    /// Where the key of the entry at this pointer stands; `None` for what has no key.
    pub fn key_extent(&self, pointer: &str) -> Option<Extent> {
        Some(Extent::of(self.places().marks.get(pointer)?.key?))
    }

    /// Where the value at this pointer stands. Of a map or list only the start is certain: its end is that of the last
    /// text inside.
    pub fn value_extent(&self, pointer: &str) -> Option<Extent> {
        let marks = &self.places().marks;
        let mut extent = Extent::of(marks.get(pointer)?.value);
        if marks.get(pointer)?.style.is_none() {
            let below = format!("{pointer}/");
            let inside = marks.iter().filter(|(other, _)| other.starts_with(&below));
            let end = |mark: &Mark| Extent::of(mark.value).end.max(mark.key.map_or((1, 1), |key| Extent::of(key).end));
            extent.end = inside.map(|(_, mark)| end(mark)).max().map_or(extent.end, |end| end.max(extent.end));
        }
        Some(extent)
    }
}

impl Extent {
    fn of(span: Span) -> Extent {
        let place = |line: usize, column: usize| (line.max(1), column + 1);
        Extent { start: place(span.start.line(), span.start.col()), end: place(span.end.line(), span.end.col()) }
    }
}
