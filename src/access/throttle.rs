//! How often one address may try a token that is none. Good ones pass all the same, so nobody can lock others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Bad tokens of one address within a window.
const MOST: u32 = 10;
const WINDOW_MS: i64 = 60_000;
/// Addresses counted at once; beyond it strangers are turned away as if they had guessed often.
const ADDRESSES: usize = 4_096;

/// What follows from one bad token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Refused, as any other.
    Counted,
    /// Too many in a minute: come back after this time. `first` is true for the first of a window.
    TooMany { wait: Duration, first: bool },
}

#[derive(Default)]
pub(super) struct Throttle {
    /// When each address's window began (ms), and how many came since.
    rows: HashMap<IpAddr, (i64, u32)>,
}

impl Throttle {
    /// Without an address it came from this machine's own command line, which is not counted.
    pub fn refused(&mut self, from: Option<IpAddr>, now_ms: i64) -> Attempt {
        let Some(from) = from.map(network) else {
            return Attempt::Counted;
        };
        let fresh = |begun: i64| (0..WINDOW_MS).contains(&now_ms.saturating_sub(begun));
        if self.rows.len() >= ADDRESSES && !self.rows.contains_key(&from) {
            self.rows.retain(|_, (begun, _)| fresh(*begun));
            if self.rows.len() >= ADDRESSES {
                return Attempt::TooMany { wait: Duration::from_millis(WINDOW_MS as u64), first: false };
            }
        }
        let (begun, count) = self.rows.entry(from).or_insert((now_ms, 0));
        if !fresh(*begun) {
            (*begun, *count) = (now_ms, 0);
        }
        *count = count.saturating_add(1);
        if *count <= MOST {
            return Attempt::Counted;
        }
        let left = WINDOW_MS - now_ms.saturating_sub(*begun);
        Attempt::TooMany { wait: Duration::from_millis(left.max(1) as u64), first: *count == MOST + 1 }
    }
}

/// Of IPv6 the /64: a single customer has all of its addresses.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_minute_are_counted_and_more_must_wait_each_address_by_itself() {
        let mut throttle = Throttle::default();
        let (one, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        for second in 0..10 {
            assert_eq!(throttle.refused(one, second * 1_000), Attempt::Counted);
        }
        let wait = Duration::from_secs(50);
        assert_eq!(throttle.refused(one, 10_000), Attempt::TooMany { wait, first: true });
        assert_eq!(throttle.refused(one, 10_000), Attempt::TooMany { wait, first: false });
        assert_eq!(throttle.refused(other, 10_000), Attempt::Counted);
        assert_eq!(throttle.refused(None, 10_000), Attempt::Counted);
        assert_eq!(throttle.refused(one, 60_000), Attempt::Counted, "a new minute");
        // A clock that was set back must not lock anyone out.
        assert_eq!(throttle.refused(one, 0), Attempt::Counted);
    }

    #[test]
    fn spellings_and_neighbours_of_an_address_are_counted_as_one() {
        let mut throttle = Throttle::default();
        for host in 0..10 {
            let from = format!("2001:db8::{host}").parse().unwrap();
            assert_eq!(throttle.refused(Some(from), 0), Attempt::Counted);
        }
        assert!(matches!(throttle.refused("2001:db8::ffff".parse().ok(), 0), Attempt::TooMany { .. }));
        for _ in 0..10 {
            throttle.refused("192.0.2.1".parse().ok(), 0);
        }
        assert!(matches!(throttle.refused("::ffff:192.0.2.1".parse().ok(), 0), Attempt::TooMany { .. }));
    }

    #[test]
    fn memory_is_bounded_however_many_addresses_guess() {
        let mut throttle = Throttle::default();
        for host in 0..10_000u32 {
            throttle.refused(Some(IpAddr::V4(host.into())), 0);
        }
        assert_eq!(throttle.rows.len(), ADDRESSES);
        assert!(matches!(throttle.refused("192.0.2.1".parse().ok(), 1), Attempt::TooMany { .. }));
        assert_eq!(throttle.refused("192.0.2.1".parse().ok(), 60_000), Attempt::Counted);
    }
}
