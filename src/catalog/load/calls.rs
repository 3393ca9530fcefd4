//! Flows that call flows: whether each called one is there, and that they do not call each other in a circle. Only the
//! catalog can know, since it alone has all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LiveFlow, problem_of};
use crate::flow::{CYCLE, Problem, UNKNOWN_FLOW, suggest};

/// What is wrong with the calls of each file.
pub(super) fn problems<'f>(files: impl Iterator<Item = (&'f Path, &'f Arc<LiveFlow>)>) -> BTreeMap<PathBuf, Problem> {
    let files: Vec<_> = files.collect();
    if files.iter().all(|(_, live)| live.flow.calls.is_empty()) {
        return BTreeMap::new();
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (_, live) in &files {
        names.extend(live.flow.aliases.iter().map(|alias| (alias.as_str(), live.flow.id.as_str())));
    }
    names.extend(files.iter().map(|(_, live)| (live.flow.id.as_str(), live.flow.id.as_str())));
    let calls: HashMap<&str, Vec<&str>> = files
        .iter()
        .filter(|(_, live)| !live.flow.calls.is_empty())
        .map(|(_, live)| {
            let known = live.flow.calls.keys().filter_map(|name| names.get(name.as_str()).copied());
            (live.flow.id.as_str(), known.collect())
        })
        .collect();
    let mut found = BTreeMap::new();
    for (path, live) in files.iter().filter(|(_, live)| !live.flow.calls.is_empty()) {
        for (name, pointer) in &live.flow.calls {
            let problem = match names.get(name.as_str()) {
                None => {
                    // In order, so that the same slip is always answered alike.
                    let known: BTreeSet<&str> = names.keys().copied().collect();
                    let hint = suggest(name, known.iter().copied());
                    let hint = hint.or_else(|| Some("save that flow first, or remove this step".to_owned()));
                    Some(problem_of(UNKNOWN_FLOW, live, pointer, format!("there is no flow `{name}`"), hint))
                }
                Some(called) => circle(&calls, &live.flow.id, called).map(|circle| {
                    let what = format!("this call leads back here: {}", circle.join(" → "));
                    let hint = "a run of it would never end; put what both need into a flow of its own".to_owned();
                    problem_of(CYCLE, live, pointer, what, Some(hint))
                }),
            };
            if let Some(problem) = problem {
                found.entry(path.to_path_buf()).or_insert(problem);
            }
        }
    }
    found
}

/// The way from `start` over `first` back to `start`, if there is one.
fn circle<'f>(calls: &HashMap<&'f str, Vec<&'f str>>, start: &'f str, first: &'f str) -> Option<Vec<&'f str>> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut ways = vec![vec![start, first]];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == start {
            return Some(way);
        }
        if !seen.insert(last) {
            continue;
        }
        for next in calls.get(last).into_iter().flatten() {
            ways.push(way.iter().copied().chain([*next]).collect());
        }
    }
    None
}
