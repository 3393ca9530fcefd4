//! What is built in, as `Cargo.lock` has it: the essentials of `deny.toml`, at each run and without a network. The whole is asked by `tests/deny`.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use crate::app::repository;

/// Name, version and source of every package.
fn packages(lock: &str) -> Vec<(String, String, Option<String>)> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.map(|line| line.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]\n").skip(1);
    blocks
        .map(|block| (value(block, "name").unwrap(), value(block, "version").unwrap(), value(block, "source")))
        .collect()
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

/// The crates that `deny.toml` bans, and below which version.
fn banned(deny: &str) -> Vec<(String, Option<String>)> {
    let bans = deny.split("\n[bans]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let crates = bans.lines().filter_map(|line| line.split("crate = \"").nth(1)?.split('"').next());
    let split = |text: &str| match text.split_once("@<") {
        Some((name, below)) => (name.to_owned(), Some(below.to_owned())),
        None => (text.to_owned(), None),
    };
    crates.map(split).collect()
}

fn faults(lock: &str, deny: &str) -> Vec<String> {
    let mut found = Vec::new();
    let banned = banned(deny);
    for (name, version, source) in packages(lock) {
        if name != "millstream" && source.as_deref() != Some("registry+https://github.com/rust-lang/crates.io-index") {
            found.push(format!("{name} {version} is not from crates.io"));
        }
        for (_, below) in banned.iter().filter(|(banned, _)| *banned == name) {
            if below.as_ref().is_none_or(|below| numbers(&version) < numbers(below)) {
                found.push(format!("{name} {version} is banned"));
            }
        }
    }
    found
}

#[test]
fn nothing_that_is_banned_or_below_its_floor_is_built_in() {
    let (lock, deny) = (repository("Cargo.lock"), repository("deny.toml"));
    assert_eq!(faults(&lock, &deny), [""; 0]);
    let banned = banned(&deny);
    for (name, floor) in [
        ("h2", "0.4.16"),
        ("crossbeam-epoch", "0.9.20"),
        ("rustls-webpki", "0.103.13"),
        ("tracing-subscriber", "0.3.20"),
        ("bytes", "1.11.1"),
    ] {
        assert!(banned.contains(&(name.to_owned(), Some(floor.to_owned()))), "deny.toml has no floor of {name}");
    }
    assert!(banned.contains(&("serde_yml".to_owned(), None)) && packages(&lock).len() > 200);
}

#[test]
fn what_is_banned_is_found() {
    let lock = |name: &str, version: &str, from: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{from}\"\n")
    };
    let deny = "x\n[bans]\ndeny = [\n    { crate = \"openssl\" },\n    { crate = \"h2@<0.4.16\" },\n]\n\n[sources]\n";
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    assert_eq!(faults(&lock("h2", "0.4.9", registry), deny), ["h2 0.4.9 is banned"]);
    assert_eq!(faults(&lock("openssl", "1.0.0", registry), deny), ["openssl 1.0.0 is banned"]);
    assert_eq!(faults(&lock("a", "1.0.0", "git+https://a.example"), deny), ["a 1.0.0 is not from crates.io"]);
    assert_eq!(faults(&lock("h2", "0.4.16", registry), deny), [""; 0]);
}

#[test]
fn each_exception_of_deny_toml_has_a_reason() {
    for line in repository("deny.toml").lines().filter(|line| line.trim_start().starts_with('{')) {
        assert!(line.contains("reason = \"") || line.contains(" # "), "{line}");
    }
}
