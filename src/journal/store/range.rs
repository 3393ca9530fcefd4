//! Ranges of the store, in order: the index and what lies over it, read page by page.

use std::collections::VecDeque;
use std::ops::Bound;

use super::super::overlay::merge;
use super::{Raw, Shared, Store};

/// Pairs that are fetched at once.
const PAGE: usize = 128;

/// Keys and entries as they are stored, in order. What is written behind its place is not missed, nor shown twice.
pub struct Range<'s> {
    shared: &'s Shared,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    backwards: bool,
    page: VecDeque<(Vec<u8>, Vec<u8>)>,
    done: bool,
}

impl Store {
    /// All entries whose keys start with `prefix`.
    pub fn scan(&self, prefix: &[u8]) -> Range<'_> {
        let mut next = prefix.to_vec();
        while next.last() == Some(&0xff) {
            next.pop();
        }
        let high = match next.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(next)
            }
            None => Bound::Unbounded,
        };
        self.range(Bound::Included(prefix.to_vec()), high, false)
    }

    /// Entries after `from`.
    pub fn after(&self, from: &[u8]) -> Range<'_> {
        self.range(Bound::Excluded(from.to_vec()), Bound::Unbounded, false)
    }

    /// Entries from `low` to before `high`, last first.
    pub fn backwards(&self, low: &[u8], high: &[u8]) -> Range<'_> {
        self.range(Bound::Included(low.to_vec()), Bound::Excluded(high.to_vec()), true)
    }

    fn range(&self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>, backwards: bool) -> Range<'_> {
        Range { shared: &self.shared, low, high, backwards, page: VecDeque::new(), done: false }
    }
}

impl Range<'_> {
    fn fetch(&mut self) -> Result<(), String> {
        fn bytes(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
            bound.as_ref().map(Vec::as_slice)
        }
        let (low, high) = (bytes(&self.low), bytes(&self.high));
        if is_empty(low, high) {
            self.done = true;
            return Ok(());
        }
        let mut layers = Vec::with_capacity(3);
        {
            let state = self.shared.state();
            layers.push(state.active.rows(low, high, self.backwards, PAGE));
            if let Some(frozen) = &state.frozen {
                layers.push(frozen.0.rows(low, high, self.backwards, PAGE));
            }
        }
        // After the layers above: what has left them meanwhile is in there.
        let below = self.shared.on_index(|index| index.range(low, high, self.backwards, PAGE))?;
        layers.push(below.into_iter().map(|(key, value)| (key, Some(value))).collect());
        let (rows, last) = merge(&layers, self.backwards, PAGE);
        self.page = rows.into();
        match last {
            Some(last) if self.backwards => self.high = Bound::Excluded(last),
            Some(last) => self.low = Bound::Excluded(last),
            None => self.done = true,
        }
        Ok(())
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Vec<u8>, Raw), String>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && !self.done {
            if let Err(why) = self.fetch() {
                self.done = true;
                return Some(Err(why));
            }
        }
        self.page.pop_front().map(|(key, raw)| Ok((key, Raw(raw))))
    }
}

/// Ranges that begin after their end are none; the maps below panic on them.
fn is_empty(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Excluded(low) | Bound::Included(low), Bound::Excluded(high) | Bound::Included(high)) => low >= high,
    }
}
