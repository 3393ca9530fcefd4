//! Names: of runs, of definitions, and of places within a run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A run's name: a UUIDv7, so that order by id is order by start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<RunId, uuid::Error> {
        Uuid::from_str(text).map(RunId)
    }
}

/// SHA-256 of a definition (a flow with its schema and connectors), written as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        // Each record of a run that begins has one: in one piece it costs a tenth.
        let mut text = [0; 64];
        text.iter_mut().zip(digits).for_each(|(at, digit)| *at = DIGITS[usize::from(digit)]);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a run pins, in parts, each with its SHA-256: the flow's own, then the connectors that it names.
pub type Pinned = Arc<[([u8; 32], Arc<str>)]>;

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        let mut bytes = [0u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("a digest has 64 hexadecimal digits".to_owned());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?;
        }
        Ok(Digest(bytes))
    }
}

/// Where a step stands in the tree of a run: positions of steps, and between them the branch or iteration entered.
///
/// Written `2.0.1`: in the third step of the flow, in its first branch (or iteration), the second step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub Vec<u32>);

impl Place {
    /// The step at `position` of the flow's own list.
    pub fn root(position: u32) -> Place {
        Place(vec![position])
    }

    /// The step at `position` within branch or iteration `sub` of this step.
    pub fn within(&self, sub: u32, position: u32) -> Place {
        let mut path = Vec::with_capacity(self.0.len() + 2);
        path.extend_from_slice(&self.0);
        path.extend([sub, position]);
        Place(path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match path {
            Ok(path) if path.len() % 2 == 1 => Ok(Place(path)),
            _ => Err(serde::de::Error::custom("a place is an odd count of numbers, as in 2.0.1")),
        }
    }
}
