//! Ticks of patterns and intervals, by example, by property, and against every real minute.

use proptest::prelude::*;

use super::*;

const ZONES: [&str; 6] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"];

fn cron(pattern: &str, zone: &str) -> Schedule {
    let rhythm = Rhythm::Cron(Cron::parse(pattern).unwrap());
    Schedule { rhythm, zone: TimeZone::get(zone).unwrap(), missed: Missed::Skip }
}

fn ms(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Local times of the first ticks after `from`.
fn ticks(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let ticks = std::iter::successors(schedule.next_after(ms(from)), |tick| schedule.next_after(*tick));
    let text = |tick: i64| schedule.body(tick)["local"].as_str().unwrap().to_owned();
    ticks.take(count).map(text).collect()
}

#[test]
fn a_pattern_names_minutes_of_the_local_calendar() {
    let weekdays = cron("0 2 * * MON-FRI", "Europe/Berlin");
    // 2026-06-05 is a Friday.
    assert_eq!(
        ticks(&weekdays, "2026-06-04T22:00:00Z", 3),
        ["2026-06-05T02:00:00+02:00", "2026-06-08T02:00:00+02:00", "2026-06-09T02:00:00+02:00"]
    );
    let kathmandu = cron("30 0 1 */6 *", "Asia/Kathmandu");
    assert_eq!(
        ticks(&kathmandu, "2026-01-01T00:00:00Z", 2),
        ["2026-07-01T00:30:00+05:45", "2027-01-01T00:30:00+05:45"]
    );
    assert_eq!(ticks(&cron("@daily", "UTC"), "2026-01-01T00:00:00Z", 1), ["2026-01-02T00:00:00+00:00"]);
    assert_eq!(ticks(&cron("0 0 29 2 *", "UTC"), "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00+00:00"]);
}

#[test]
fn days_of_month_and_week_are_either_unless_one_begins_with_a_star() {
    // 2026-06-13 is a Saturday, the 15th a Monday.
    let either = cron("0 0 13 * MON", "UTC");
    let day = |text: &String| text[5..10].to_owned();
    let days: Vec<String> = ticks(&either, "2026-06-08T00:00:00Z", 3).iter().map(day).collect();
    assert_eq!(days, ["06-13", "06-15", "06-22"]);
    let both = cron("0 0 */2 * MON", "UTC");
    let days: Vec<String> = ticks(&both, "2026-06-08T00:00:00Z", 2).iter().map(day).collect();
    assert_eq!(days, ["06-15", "06-29"]);
}

#[test]
fn a_point_of_time_that_the_clock_leaves_out_runs_right_after() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        ticks(&berlin, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    let twice = cron("10,20 2,3 * * *", "America/New_York");
    assert_eq!(
        ticks(&twice, "2026-03-08T06:00:00Z", 3),
        ["2026-03-08T03:00:00-04:00", "2026-03-08T03:10:00-04:00", "2026-03-08T03:20:00-04:00"]
    );
    let lord_howe = cron("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(ticks(&lord_howe, "2026-10-03T12:00:00Z", 1), ["2026-10-04T02:30:00+11:00"]);
    // Samoa had no 30th of December in 2011.
    let apia = cron("0 12 * * *", "Pacific/Apia");
    assert_eq!(
        ticks(&apia, "2011-12-29T21:00:00Z", 3),
        ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
    );
}

#[test]
fn a_point_of_time_that_comes_twice_runs_at_the_first() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(ticks(&berlin, "2026-10-24T12:00:00Z", 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    let lord_howe = cron("45 1 * * *", "Australia/Lord_Howe");
    assert_eq!(
        ticks(&lord_howe, "2026-04-04T12:00:00Z", 2),
        ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
    );
}

#[test]
fn an_interval_follows_the_clock_through_both_changes() {
    let quarters = cron("*/15 * * * *", "Europe/Berlin");
    for (from, count) in [("2026-03-29T00:00:00Z", 8), ("2026-10-25T00:00:00Z", 12)] {
        let mut at = ms(from);
        for _ in 0..count {
            let next = quarters.next_after(at).unwrap();
            assert_eq!(next - at, 15 * 60_000, "after {at}");
            at = next;
        }
    }
    let lord_howe = cron("*/15 * * * *", "Australia/Lord_Howe");
    assert_eq!(
        ticks(&lord_howe, "2026-10-03T15:00:00Z", 3),
        ["2026-10-04T01:45:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00"]
    );
}

#[test]
fn a_pattern_that_never_comes_has_no_next_tick() {
    for never in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(cron(never, "Europe/Berlin").next_after(0), None, "{never}");
        assert_eq!(cron(never, "Europe/Berlin").last_before(0), None, "{never}");
    }
    assert!(cron("0 0 31 2 MON", "UTC").next_after(0).is_some());
}

#[test]
fn what_is_wrong_with_a_pattern_is_said() {
    let wrongs = [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "1,,2 * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "*/60 * * * *",
        "5/15 * * * *",
        "* * L * *",
        "* * * * FRI-MON",
        "* * * * MONDAY",
        "@reboot",
        "+1 * * * *",
        "/5 * * * *",
        "1-2-3 * * * *",
    ];
    let told: Vec<String> = wrongs.map(|wrong| format!("{wrong:?}: {}", Cron::parse(wrong).unwrap_err())).to_vec();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_week_may_end_with_sunday() {
    let days = |pattern: &str| ticks(&cron(pattern, "UTC"), "2026-06-01T00:00:00Z", 9);
    assert_eq!(days("0 0 * * SAT-SUN"), days("0 0 * * 0,6"));
    assert_eq!(days("0 0 * * 5-7"), days("0 0 * * fri,sat,sun"));
}

#[test]
fn every_is_aligned_to_its_anchor_and_begins_there() {
    let every = |anchor_ms, first_ms| Schedule {
        rhythm: Rhythm::Every { period_ms: 900_000, anchor_ms, first_ms },
        zone: TimeZone::UTC,
        missed: Missed::Skip,
    };
    let aligned = every(0, i64::MIN);
    assert_eq!(ticks(&aligned, "2026-01-01T00:07:00Z", 2), ["2026-01-01T00:15:00+00:00", "2026-01-01T00:30:00+00:00"]);
    let start = ms("2026-01-01T00:05:00Z");
    let anchored = every(start, start);
    assert_eq!(ticks(&anchored, "2020-01-01T00:00:00Z", 2), ["2026-01-01T00:05:00+00:00", "2026-01-01T00:20:00+00:00"]);
    assert_eq!(anchored.last_before(start), None);
    assert_eq!(anchored.body(start)["previous"], Value::Null);
    assert_eq!(anchored.last_before(start + 1), Some(start));
    assert_eq!(aligned.next_after(i64::MAX), None);
}

#[test]
fn the_ends_of_time_have_no_ticks_and_break_nothing() {
    let every = |anchor_ms, first_ms| Schedule {
        rhythm: Rhythm::Every { period_ms: i64::MAX, anchor_ms, first_ms },
        zone: TimeZone::UTC,
        missed: Missed::Skip,
    };
    let (low, high) = (i64::MIN, i64::MAX);
    let mut all = vec![every(0, low), every(low, low), every(high, high), every(low, high), every(high, low)];
    all.extend(ZONES.map(|zone| cron("30 2 * * *", zone)));
    all.extend(ZONES.map(|zone| cron("*/7 * * * *", zone)));
    let edges = [Timestamp::MIN, Timestamp::MAX].map(|time| time.as_millisecond());
    for at in [low, low + 1, high, high - 1]
        .into_iter()
        .chain(edges.into_iter().flat_map(|at| (at - 2_000..at + 2_001).step_by(1_000)))
    {
        for schedule in &all {
            schedule.next_after(at);
            schedule.last_before(at);
            schedule.body(at);
        }
    }
}

/// Patterns with something in each field, often enough a fixed time near a change of clocks.
fn pattern() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        Just("*".to_owned()),
        (2..30u32).prop_map(|n| format!("*/{n}")),
        (0..60u32).prop_map(|n| n.to_string())
    ];
    let hour = prop_oneof![
        Just("*".to_owned()),
        (2..12u32).prop_map(|n| format!("*/{n}")),
        (0..4u32).prop_map(|n| n.to_string()),
        (0..20u32).prop_map(|n| format!("{n}-{}", n + 3)),
    ];
    let day = prop_oneof![4 => Just("*".to_owned()), 1 => (1..29u32).prop_map(|n| n.to_string())];
    let weekday = prop_oneof![4 => Just("*".to_owned()), 1 => (0..8u32).prop_map(|n| n.to_string())];
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

proptest! {
    #[test]
    fn ticks_increase_match_and_are_found_from_anywhere_between(
        pattern in pattern(),
        zone in proptest::sample::select(&ZONES[..]),
        // 2011 to 2027: the changes of all these zones, Samoa's missing day among them.
        from in 1_293_840_000_000i64..1_798_761_600_000,
        part in 0.0f64..1.0,
    ) {
        let schedule = cron(&pattern, zone);
        let Rhythm::Cron(cron) = &schedule.rhythm else { unreachable!() };
        let mut at = from;
        for _ in 0..40 {
            let next = schedule.next_after(at).unwrap();
            prop_assert!(next > at, "{next} comes after {at}");
            let second = next / 1000;
            let stretch = Stretch::around(&schedule.zone, second).unwrap();
            let matches = cron.names(second + stretch.offset);
            let after_a_gap = stretch.begins.is_some_and(|(begin, before)| begin == second && before < stretch.offset);
            prop_assert!(matches || cron.fixed && after_a_gap, "{next} is named");
            let between = at + ((next - at) as f64 * part) as i64;
            prop_assert_eq!(schedule.next_after(between.min(next - 1)), Some(next));
            prop_assert_eq!(schedule.last_before(next + 1), Some(next));
            if at != from {
                prop_assert_eq!(schedule.last_before(next), Some(at));
            }
            at = next;
        }
    }

    #[test]
    fn each_local_minute_that_is_named_has_its_tick(
        pattern in pattern(),
        zone in proptest::sample::select(&ZONES[..]),
        day in 14_975i64..20_818,
    ) {
        // By brute force: each real minute of two days, judged by the local clock.
        let schedule = cron(&pattern, zone);
        let Rhythm::Cron(cron) = &schedule.rhythm else { unreachable!() };
        let (start, end) = (day * 86_400, (day + 2) * 86_400);
        let offset = |at: i64| i64::from(schedule.zone.to_offset(Timestamp::from_second(at).unwrap()).seconds());
        let mut shown = std::collections::HashSet::new();
        let mut expected = Vec::new();
        for at in (start - 7_200..end).step_by(60) {
            let local = at + offset(at);
            let again = !shown.insert(local);
            let left_out = (at - 60 + offset(at - 60) + 60..local).step_by(60).any(|local| cron.names(local));
            let named = cron.names(local) && !(again && cron.fixed) || cron.fixed && left_out;
            if named && at >= start {
                expected.push(at * 1000);
            }
        }
        let first = schedule.next_after(start * 1000 - 1);
        let ticks = std::iter::successors(first, |tick| schedule.next_after(*tick));
        let found: Vec<i64> = ticks.take_while(|tick| *tick < end * 1000).collect();
        prop_assert_eq!(found, expected);
    }
}
