//! A text as editors see it: lines, and columns that count UTF-16 units.

use serde::{Deserialize, Serialize};

use crate::flow::Extent;

/// A place in a text: line and UTF-16 unit, from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub line: u32,
    pub character: u32,
}

/// From the first place up to the second, which is outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub start: Position,
    pub end: Position,
}

/// A text and where its lines begin.
///
/// ```
/// use millstream::language::{Position, Range, Text};
/// let mut text = Text::new("a: \"😀x\"\nb: 1\n".to_owned());
/// // The face is two UTF-16 units and four bytes.
/// let x = Position { line: 0, character: 6 };
/// assert_eq!(text.offset(x), 8);
/// assert_eq!(text.position(8), x);
/// text.replace(Some(Range { start: x, end: Position { line: 1, character: 0 } }), "\"\n");
/// assert_eq!(text.as_str(), "a: \"😀\"\nb: 1\n");
/// ```
#[derive(Debug, Clone)]
pub struct Text {
    text: String,
    /// Byte offsets.
    lines: Vec<usize>,
}

impl Text {
    pub fn new(text: String) -> Text {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Text { text, lines }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A line without its end; empty beyond the last.
    pub fn line(&self, line: usize) -> &str {
        let (start, end) = self.bounds(line);
        &self.text[start..end]
    }

    /// Byte offset of a place; of one that is not there, that of the nearest before it.
    pub fn offset(&self, position: Position) -> usize {
        let (start, end) = self.bounds(position.line as usize);
        let mut units = 0;
        for (at, c) in self.text[start..end].char_indices() {
            if units + c.len_utf16() > position.character as usize {
                return start + at;
            }
            units += c.len_utf16();
        }
        end
    }

    /// The place of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let units: usize = self.text[self.lines[line]..offset].chars().map(char::len_utf16).sum();
        Position { line: small(line), character: small(units) }
    }

    /// Byte offset of a line and a column, both from 1 and in characters.
    pub fn at(&self, (line, column): (usize, usize)) -> usize {
        let (start, end) = self.bounds(line.saturating_sub(1));
        let mut places = self.text[start..end].char_indices();
        places.nth(column.saturating_sub(1)).map_or(end, |(at, _)| start + at)
    }

    /// The bytes of an extent.
    pub fn bytes(&self, extent: Extent) -> std::ops::Range<usize> {
        let start = self.at(extent.start);
        start..self.at(extent.end).max(start)
    }

    pub fn range(&self, bytes: std::ops::Range<usize>) -> Range {
        Range { start: self.position(bytes.start), end: self.position(bytes.end) }
    }

    /// An edit: `with` in place of what is there, or of everything.
    pub fn replace(&mut self, range: Option<Range>, with: &str) {
        let mut text = std::mem::take(&mut self.text);
        match range {
            None => text = with.to_owned(),
            Some(range) => {
                self.text = text;
                let (start, end) = (self.offset(range.start), self.offset(range.end));
                text = std::mem::take(&mut self.text);
                text.replace_range(start..end.max(start), with);
            }
        }
        *self = Text::new(text);
    }

    fn bounds(&self, line: usize) -> (usize, usize) {
        let Some(start) = self.lines.get(line).copied() else { return (self.text.len(), self.text.len()) };
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        (start, end)
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn places_count_utf16_units_and_lines_end_before_their_break() {
        let text = Text::new("é😀b\r\nc".to_owned());
        assert_eq!(text.offset(place(0, 1)), 2);
        assert_eq!(text.offset(place(0, 2)), 2, "the middle of a pair is its beginning");
        assert_eq!(text.offset(place(0, 3)), 6);
        assert_eq!(text.offset(place(0, 99)), 7, "before the line's end");
        assert_eq!(text.offset(place(1, 1)), 10);
        assert_eq!(text.offset(place(9, 9)), 10);
        assert_eq!((text.position(6), text.position(9)), (place(0, 3), place(1, 0)));
        assert_eq!((text.at((1, 3)), text.at((2, 1)), text.at((0, 0))), (6, 9, 0));
        assert_eq!((text.line(0), text.line(1), text.line(2)), ("é😀b", "c", ""));
    }

    #[test]
    fn an_edit_may_be_anything() {
        let mut text = Text::new("ab\ncd\n".to_owned());
        text.replace(Some(Range { start: place(0, 1), end: place(1, 1) }), "x\n😀");
        assert_eq!(text.as_str(), "ax\n😀d\n");
        text.replace(Some(Range { start: place(1, 2), end: place(0, 0) }), "-");
        assert_eq!(text.as_str(), "ax\n😀-d\n", "a range that ends before it begins is empty");
        text.replace(Some(Range { start: place(7, 0), end: place(8, 0) }), "end");
        assert_eq!(text.as_str(), "ax\n😀-d\nend");
        text.replace(None, "");
        assert_eq!((text.as_str(), text.position(5)), ("", place(0, 0)));
    }
}
