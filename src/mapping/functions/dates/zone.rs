//! Time zones by Windows' name or by IANA's, and times between them.

use std::collections::HashMap;
use std::sync::OnceLock;

use jiff::tz::{AmbiguousOffset, TimeZone};

use super::moment::{Moment, Zone};

/// `Pacific Standard Time=America/Los_Angeles` a line, from CLDR.
const TEXT: &str = include_str!("../culture/zones.txt");

/// The zone of this name, ignoring case: `Pacific Standard Time`, `Europe/Berlin`, `UTC`.
pub(super) fn find(name: &str) -> Option<TimeZone> {
    static WINDOWS: OnceLock<HashMap<String, &'static str>> = OnceLock::new();
    let windows = WINDOWS.get_or_init(|| {
        let lines = TEXT.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, iana)| (name.to_lowercase(), iana)).collect()
    });
    let name = name.trim();
    if name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("z") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(windows.get(&name.to_lowercase()).copied().unwrap_or(name)).ok()
}

/// All of Windows' names, for hints.
pub(super) fn windows() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name)
}

/// The time on the clocks of `zone` at a point given in UTC.
pub(super) fn from_utc(at: Moment, zone: &TimeZone) -> Option<Moment> {
    let local = zone.to_datetime(at.timestamp()?);
    Moment::of_civil(local, if *zone == TimeZone::UTC { Zone::Utc } else { Zone::None })
}

/// The point at which the clocks of `zone` show this; of two, the one in standard time, as .NET has it.
///
/// `Err` where clocks went forward past it; `Ok(None)` outside of the years 1 to 9999.
pub(super) fn to_utc(local: Moment, zone: &TimeZone) -> Result<Option<Moment>, ()> {
    let offset = match zone.to_ambiguous_timestamp(local.civil()).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Fold { after, .. } => after,
        AmbiguousOffset::Gap { .. } => return Err(()),
    };
    Ok(local.plus(-i64::from(offset.seconds()) * super::moment::SECOND).map(|at| at.with_zone(Zone::Utc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_windows_zone_is_known() {
        for name in windows() {
            assert!(find(name).is_some(), "{name}");
            assert!(find(&name.to_uppercase()).is_some(), "{name}");
        }
        assert!(windows().count() > 130);
        assert!(find("Europe/Berlin").is_some() && find("Middle of Nowhere Time").is_none());
    }
}
