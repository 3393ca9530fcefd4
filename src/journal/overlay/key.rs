//! Keys as the overlay keeps them: within the tree's nodes, and compared eight bytes at a time.
//!
//! A run that is accepted puts three keys among thousands of others, and nearly all that this costs is comparing them.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// Bytes that need no memory of their own: all keys but some claims, settings and definitions have no more.
const INSIDE: usize = 40;

/// In order as its bytes are.
#[derive(Debug, Clone)]
pub struct Key {
    /// The first bytes; what is behind the end is zero.
    head: [u8; INSIDE],
    len: u8,
    /// The whole key, where it does not fit.
    long: Box<[u8]>,
}

impl Key {
    pub fn new(bytes: &[u8]) -> Key {
        let mut head = [0; INSIDE];
        let inside = bytes.len().min(INSIDE);
        head[..inside].copy_from_slice(&bytes[..inside]);
        let long = if bytes.len() > INSIDE { bytes.into() } else { Box::default() };
        Key { head, len: inside as u8, long }
    }

    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.head[..usize::from(self.len)] } else { &self.long }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        for (own, its) in self.head.as_chunks().0.iter().zip(other.head.as_chunks().0) {
            let (own, its) = (u64::from_be_bytes(*own), u64::from_be_bytes(*its));
            if own != its {
                return own.cmp(&its);
            }
        }
        // A key that ends here comes before one that goes on, and before one that has zeros where it has nothing.
        self.long.cmp(&other.long).then(self.len.cmp(&other.len))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_bytes_whatever_their_length() {
        let mut all: Vec<Vec<u8>> = vec![Vec::new()];
        for length in [1, 7, 8, 9, INSIDE - 1, INSIDE, INSIDE + 1, 2 * INSIDE] {
            for last in [0, 1, 255] {
                for fill in [0, 7, 255] {
                    let mut key = vec![fill; length];
                    key[length - 1] = last;
                    all.push(key);
                }
            }
        }
        for a in &all {
            assert_eq!(Key::new(a).bytes(), a);
            for b in &all {
                assert_eq!(Key::new(a).cmp(&Key::new(b)), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
