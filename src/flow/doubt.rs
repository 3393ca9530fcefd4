//! What a step may name that need not be there: steps that need not have run, variables that need not be set, and
//! what the conditions around it ask about.

use std::collections::BTreeMap;

use crate::mapping::{Key, Template};
use crate::schema::{Shape, Types};

/// Why a step need not have run before the place that is being checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    pub why: String,
    /// The step, and the steps around it that make it doubtful: a condition that names one of them knows.
    of: Vec<String>,
    /// The conditions that it runs under; `None` for one that is no condition's text.
    under: Vec<Option<String>>,
}

impl Doubt {
    pub fn new(id: &str, why: String, under: Option<String>) -> Doubt {
        Doubt { why, of: vec![id.to_owned()], under: vec![under] }
    }

    /// The same of a step that was doubtful already where it stands.
    pub fn further(mut self, around: &str, under: Option<String>) -> Doubt {
        self.of.push(around.to_owned());
        self.under.push(under);
        self
    }

    /// True if the conditions around the place ask about it, or are those that the step runs under.
    pub fn is_settled(&self, asked: &Asked) -> bool {
        let named = |path: &Vec<Key>| {
            path.first().is_some_and(|root| root == "steps") && path.get(1).is_some_and(|id| self.of.contains(id))
        };
        let same = |under: &Option<String>| under.as_ref().is_some_and(|under| asked.texts.contains(under));
        asked.paths.iter().any(named) || self.under.iter().all(same)
    }
}

/// What the conditions around a place ask about.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    texts: Vec<String>,
    paths: Vec<Vec<Key>>,
}

impl Asked {
    /// A condition that is judged before what follows runs. `holds`: what follows runs only if it is true.
    pub fn add(&mut self, condition: &Template, holds: bool) {
        self.paths.extend(condition.paths().into_iter().map(<[Key]>::to_vec));
        if holds {
            self.texts.push(condition.source().to_owned());
        }
    }

    /// True if `path`, or a part of what it holds, is asked about.
    pub fn has(&self, path: &[Key]) -> bool {
        let within = |asked: &Vec<Key>| {
            asked.len() >= path.len() && asked.iter().zip(path).all(|(asked, key)| asked.eq_ignore_ascii_case(key))
        };
        self.paths.iter().any(within)
    }
}

/// Variables that can have a value, and the shape of it. One that is not here has none yet.
pub type Vars = BTreeMap<String, Shape>;

/// What holds of a variable that was set in one way or in another, or in one of them only.
pub fn either(a: &Vars, b: &Vars) -> Vars {
    let mut all = a.clone();
    for (name, shape) in b {
        let joined = match a.get(name) {
            Some(other) if other == shape => continue,
            Some(other) => other.clone().either(shape.clone()),
            None => possibly(shape.clone()),
        };
        all.insert(name.clone(), joined);
    }
    for (name, shape) in all.iter_mut().filter(|(name, _)| !b.contains_key(*name)) {
        debug_assert!(a.contains_key(name));
        *shape = possibly(shape.clone());
    }
    all
}

/// The same shape, or null.
pub fn possibly(mut shape: Shape) -> Shape {
    shape.types = shape.types.or(Types::NULL);
    shape
}
