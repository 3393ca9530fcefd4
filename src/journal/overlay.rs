//! What the log has and the index has not yet: changes of the index, in memory, by key.
//!
//! Entries that come and go in here never reach the index: most runs end before that.

mod key;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use self::key::Key;
use super::index::Pairs;

/// What a key and its value take beside their bytes, about.
const AROUND: usize = 96;

#[derive(Debug, Default)]
pub struct Overlay {
    changes: BTreeMap<Key, Change>,
    bytes: usize,
}

/// A key's new value, or `None` if it is removed.
#[derive(Debug)]
pub struct Change {
    pub value: Option<Vec<u8>>,
    /// What lies below has no such key.
    fresh: bool,
}

/// Keys and values in order, some of them removed.
pub type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Overlay {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// `None` if it says nothing of the key.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.changes.get(&Key::new(key)).map(|change| change.value.as_deref())
    }

    /// Changes a value in place, which makes it no shorter. It begins empty where the key is fresh or was removed here; of
    /// any other key of which nothing is said here, `below` knows the value.
    pub fn edit<E>(
        &mut self,
        key: &[u8],
        fresh: bool,
        below: impl FnOnce() -> Result<Vec<u8>, E>,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), E> {
        // One search: finding a key costs more than all else here.
        let found = match self.changes.entry(Key::new(key)) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => {
                let value = if fresh { Vec::new() } else { below()? };
                self.bytes += key.len() + AROUND + value.len();
                free.insert(Change { value: Some(value), fresh })
            }
        };
        let value = found.value.get_or_insert_default();
        let before = value.len();
        change(value);
        self.bytes += value.len() - before;
        Ok(())
    }

    pub fn put(&mut self, key: &[u8], value: Vec<u8>, fresh: bool) {
        self.bytes += value.len();
        match self.changes.entry(Key::new(key)) {
            Entry::Occupied(mut found) => {
                let old = found.get_mut().value.replace(value);
                self.bytes -= old.map_or(0, |old| old.len());
            }
            Entry::Vacant(free) => {
                self.bytes += key.len() + AROUND;
                free.insert(Change { value: Some(value), fresh });
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) {
        match self.changes.entry(Key::new(key)) {
            Entry::Occupied(mut found) if !found.get().fresh => {
                self.bytes -= found.get_mut().value.take().map_or(0, |value| value.len());
            }
            Entry::Occupied(found) => {
                let value = found.remove().value.map_or(0, |value| value.len());
                self.bytes -= value + key.len() + AROUND;
            }
            Entry::Vacant(free) => {
                self.bytes += key.len() + AROUND;
                free.insert(Change { value: None, fresh: false });
            }
        }
    }

    /// What is there, without what is removed.
    pub fn into_entries(self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.changes.into_iter().filter_map(|(key, change)| Some((key.bytes().to_vec(), change.value?))).collect()
    }

    /// In the order of keys.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, change)| (key.bytes(), change.value.as_deref()))
    }

    /// At most `limit` rows of a range, from its low end or from its high end.
    pub fn rows(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, backwards: bool, limit: usize) -> Rows {
        let range = self.changes.range::<[u8], _>((low, high));
        let row = |(key, change): (&Key, &Change)| (key.bytes().to_vec(), change.value.clone());
        if backwards { range.rev().take(limit).map(row).collect() } else { range.take(limit).map(row).collect() }
    }
}

/// Lays rows over others (which have the older values), all of one range. Where a list was cut at `limit`, what comes
/// after its last key is unknown, and left out. Returns what is there, and true if there may be more.
pub fn merge(layers: &[Rows], backwards: bool, limit: usize) -> (Pairs, Option<Vec<u8>>) {
    let further = |a: &[u8], b: &[u8]| if backwards { a < b } else { a > b };
    // The nearest end of those that were cut.
    let cut = layers.iter().filter(|rows| rows.len() >= limit).filter_map(|rows| rows.last());
    let cut = cut.map(|(key, _)| key.as_slice()).reduce(|a, b| if further(a, b) { b } else { a });
    let mut merged: BTreeMap<&[u8], &Option<Vec<u8>>> = BTreeMap::new();
    // The uppermost layer comes first, so it has the last word.
    for rows in layers.iter().rev() {
        let known = rows.iter().filter(|(key, _)| cut.is_none_or(|cut| !further(key, cut)));
        merged.extend(known.map(|(key, value)| (key.as_slice(), value)));
    }
    let row = |(key, value): (&[u8], &Option<Vec<u8>>)| Some((key.to_vec(), value.clone()?));
    let mut rows: Vec<_> = merged.into_iter().filter_map(row).collect();
    if backwards {
        rows.reverse();
    }
    (rows, cut.map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_never_there_and_weighs_nothing() {
        let mut overlay = Overlay::default();
        overlay.put(b"new", vec![1; 10], true);
        overlay.put(b"new", vec![1; 30], false);
        overlay.remove(b"new");
        assert_eq!(overlay.get(b"new"), None);
        assert_eq!((overlay.bytes(), overlay.is_empty()), (0, true));
        overlay.put(b"old", vec![1; 10], false);
        overlay.remove(b"old");
        assert_eq!(overlay.get(b"old"), Some(None));
    }

    #[test]
    fn layers_are_merged_up_to_where_all_are_known() {
        let row = |key: u8, value: Option<u8>| (vec![key], value.map(|value| vec![value]));
        let upper = vec![row(1, Some(11)), row(3, None)];
        let lower = vec![row(2, Some(2)), row(3, Some(3)), row(4, Some(4))];
        let (rows, more) = merge(&[upper.clone(), lower.clone()], false, 3);
        assert_eq!(rows, [(vec![1], vec![11]), (vec![2], vec![2]), (vec![4], vec![4])]);
        assert_eq!(more, Some(vec![4]));
        // Cut after 3 above: of 4 below nobody knows yet.
        let (rows, more) = merge(&[upper, lower], false, 2);
        assert_eq!((rows.len(), more), (2, Some(vec![3])));
        let (rows, more) = merge(&[vec![row(3, None), row(1, Some(11))], vec![row(4, Some(4))]], true, 9);
        assert_eq!(rows, [(vec![4], vec![4]), (vec![1], vec![11])]);
        assert_eq!(more, None);
    }
}
