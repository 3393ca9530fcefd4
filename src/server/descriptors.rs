//! File descriptors: as many as there may be, and how many connections that is.
//!
//! Each connection takes one. If they took all, the journal could not open its next file and calls could not go out; so
//! what the rest of the process needs is set aside first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// Connections of the admin listener, which serves a few people and tools.
const ADMIN: u64 = 256;
/// Files, watches and sockets of the process itself, beside connections in and calls out.
const OWN: u64 = 64;
/// Beyond it nothing here needs more.
const PLENTY: u64 = 1 << 20;

/// How many connections each listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub public: usize,
    pub admin: usize,
}

/// Raises this process's limit as far as the settings want and the system lets it, and shares out what there is.
pub(super) fn share(limits: &Limits) -> Shares {
    let (public, runs) = (limits.connections.max(1) as u64, limits.runs as u64);
    // A call takes one, and the connection of one before it may be kept for the next.
    let wanted = (public + ADMIN + OWN).saturating_add(2 * runs).min(PLENTY);
    let found = getrlimit(Resource::Nofile);
    let mut most = found.current.unwrap_or(PLENTY);
    if most < wanted {
        let raised = found.maximum.unwrap_or(wanted).min(wanted);
        if raised > most && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..found }).is_ok() {
            most = raised;
        }
    }
    let shares = split(most, public, runs);
    if (shares.public as u64) < public {
        tracing::warn!(
            "this process may have {most} file descriptors, so {} connections at once and not {public}; raise \
             `ulimit -n` (systemd: LimitNOFILE) to {wanted}, or lower limits.connections",
            shares.public
        );
    }
    shares
}

/// Of `most` descriptors, what each listener may take.
fn split(most: u64, public: u64, runs: u64) -> Shares {
    // With few, calls share what there is: one that finds none is tried again.
    let calls = (2 * runs).min(most / 4);
    let left = most.saturating_sub(OWN.min(most / 2)).saturating_sub(calls);
    let admin = (left / 8).clamp(2, ADMIN);
    let public = left.saturating_sub(admin).clamp(1, public);
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    Shares { public: size(public), admin: size(admin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_what_the_rest_needs() {
        let shares = |most| split(most, 10_000, 256);
        assert_eq!(shares(20_000), Shares { public: 10_000, admin: 256 });
        assert_eq!(shares(1024), Shares { public: 616, admin: 88 });
        assert_eq!(shares(64), Shares { public: 14, admin: 2 });
        assert_eq!(shares(4), Shares { public: 1, admin: 2 });
        for most in [64, 256, 1024, 4096, 65_536] {
            let Shares { public, admin } = shares(most);
            assert!(public + admin + 32 <= most as usize, "{most}");
        }
    }
}
