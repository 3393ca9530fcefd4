//! What is made of equal texts is one in memory, as long as someone holds it.
//!
//! Ten thousand flows that name one schema file have one compiled schema, and one template for each text that stands in
//! many of them; so have the versions that runs pin. From outside nothing tells but time and memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What nobody holds is swept out once there are so many entries, and then at each doubling.
const SWEPT: usize = 256;

/// A value, and the text it was made of.
#[derive(Debug)]
pub struct Made<T> {
    text: Box<str>,
    value: T,
}

impl<T> Made<T> {
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T> Deref for Made<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The values of one kind that someone holds.
pub struct Alike<T>(Mutex<Option<Held<T>>>);

struct Held<T> {
    hasher: RandomState,
    /// By the text's hash. Of two texts with one hash only one is here.
    by_hash: HashMap<u64, Weak<Made<T>>>,
    sweep_at: usize,
}

impl<T> Alike<T> {
    pub const fn new() -> Alike<T> {
        Alike(Mutex::new(None))
    }

    /// The value of this text, if someone holds it; else what `make` makes of it.
    pub fn of<E>(&self, text: &str, make: impl FnOnce(&str) -> Result<T, E>) -> Result<Arc<Made<T>>, E> {
        if let Some(found) = self.with(|held| held.find(text)) {
            return Ok(found);
        }
        // Not under the lock: it may take long, and a few who do it at once do no harm.
        let made = Arc::new(Made { text: text.into(), value: make(text)? });
        Ok(self.with(|held| held.keep(made)))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Held<T>) -> R) -> R {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(held.get_or_insert_with(|| Held { hasher: RandomState::new(), by_hash: HashMap::new(), sweep_at: SWEPT }))
    }
}

impl<T> Default for Alike<T> {
    fn default() -> Alike<T> {
        Alike::new()
    }
}

impl<T> Held<T> {
    fn find(&self, text: &str) -> Option<Arc<Made<T>>> {
        let found = self.by_hash.get(&self.hasher.hash_one(text))?.upgrade()?;
        (*found.text == *text).then_some(found)
    }

    /// The value as all should hold it: someone may have been sooner.
    fn keep(&mut self, made: Arc<Made<T>>) -> Arc<Made<T>> {
        if let Some(found) = self.find(&made.text) {
            return found;
        }
        if self.by_hash.len() >= self.sweep_at {
            self.by_hash.retain(|_, held| held.strong_count() > 0);
            self.sweep_at = (self.by_hash.len() * 2).max(SWEPT);
        }
        self.by_hash.insert(self.hasher.hash_one(&*made.text), Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_value_for_as_long_as_it_is_held() {
        let alike: Alike<usize> = Alike::new();
        let length = |text: &str| Ok::<_, ()>(text.len());
        let first = alike.of("abc", length).unwrap();
        let second = alike.of("abc", |_| Err(())).expect("it is not made twice");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(alike.of("x", length).unwrap().value, 1);

        drop((first, second));
        assert_eq!(alike.of("abc", |_| Err("made anew")).err(), Some("made anew"));
    }

    #[test]
    fn what_nobody_holds_is_swept_out() {
        let alike: Alike<usize> = Alike::new();
        let held: Vec<_> = (0..10).map(|n| alike.of(&format!("held {n}"), |_| Ok::<_, ()>(n)).unwrap()).collect();
        for n in 0..10 * SWEPT {
            alike.of(&n.to_string(), |_| Ok::<_, ()>(n)).unwrap();
        }
        assert!(alike.with(|all| all.by_hash.len()) <= SWEPT);
        assert!(held.iter().all(|one| Arc::ptr_eq(one, &alike.of(one.text(), |_| Err(())).unwrap())));
    }
}
