//! The functions of dates: one row each.

use std::borrow::Cow;

use serde_json::Value;

use super::moment::{DAY, HOUR, MINUTE, SECOND, Unit};
use super::*;
use crate::mapping::functions::{Example, Function, NUMBER, example, one};

const TIME: Param = one("timestamp", TEXT);
const FAMILY: &str = "Date";

type Run = for<'e> fn(Args<'e>) -> Outcome<'e>;

const fn row(name: &'static str, params: &'static [Param], text: &'static str, example: Example, run: Run) -> Function {
    Function { name, family: FAMILY, params, result: TEXT, text, example, infer: None, run }
}

const fn count(name: &'static str, text: &'static str, example: Example, run: Run) -> Function {
    Function { name, family: FAMILY, params: &[TIME], result: NUMBER, text, example, infer: None, run }
}

pub(in crate::mapping::functions) const ROWS: &[Function] = &[
    row(
        "utcNow",
        &[FORMAT],
        "The run's present in UTC, by a .NET format; without one `o`, with seven digits behind the second. It is the same at each repeat of a step.",
        example(r#"{{utcNow}}"#, "{}", r#""1970-01-01T00:00:00.0000000Z""#),
        utc_now,
    ),
    row(
        "getFutureTime",
        &[one("count", NUMBER), one("unit", TEXT), FORMAT],
        "The run's present plus so many of a unit: Second, Minute, Hour, Day, Week, Month or Year.",
        example(r#"{{getFutureTime 5 "Day" "D"}}"#, "{}", r#""Tuesday, January 6, 1970""#),
        |args| shift(args, now(args)?, 0, 1),
    ),
    row(
        "getPastTime",
        &[one("count", NUMBER), one("unit", TEXT), FORMAT],
        "The run's present less so many of a unit.",
        example(r#"{{getPastTime 5 "Day"}}"#, "{}", r#""1969-12-27T00:00:00.0000000Z""#),
        |args| shift(args, now(args)?, 0, -1),
    ),
    row(
        "addToTime",
        &[TIME, one("count", NUMBER), one("unit", TEXT), FORMAT],
        "The time plus so many of a unit. A day that the new month lacks becomes its last. Here and in all that follow, a time with an offset is turned to UTC, and one without a zone stays without.",
        example(r#"{{addToTime "2018-01-31T00:00:00Z" 1 "Month"}}"#, "{}", r#""2018-02-28T00:00:00.0000000Z""#),
        |args| shift(args, read(args, 0)?, 1, 1),
    ),
    row(
        "subtractFromTime",
        &[TIME, one("count", NUMBER), one("unit", TEXT), FORMAT],
        "The time less so many of a unit.",
        example(r#"{{subtractFromTime "2018-01-02T00:00:00Z" 1 "Day"}}"#, "{}", r#""2018-01-01T00:00:00.0000000Z""#),
        |args| shift(args, read(args, 0)?, 1, -1),
    ),
    row(
        "addSeconds",
        &[TIME, one("seconds", NUMBER), FORMAT],
        "The time so many seconds later.",
        example(r#"{{addSeconds "2018-03-15T00:00:00Z" 10}}"#, "{}", r#""2018-03-15T00:00:10.0000000Z""#),
        |args| add(args, Unit::Ticks(SECOND)),
    ),
    row(
        "addMinutes",
        &[TIME, one("minutes", NUMBER), FORMAT],
        "The time so many minutes later.",
        example(r#"{{addMinutes "2018-03-15T00:20:00Z" 10}}"#, "{}", r#""2018-03-15T00:30:00.0000000Z""#),
        |args| add(args, Unit::Ticks(MINUTE)),
    ),
    row(
        "addHours",
        &[TIME, one("hours", NUMBER), FORMAT],
        "The time so many hours later.",
        example(r#"{{addHours "2018-03-15T00:00:00Z" 10}}"#, "{}", r#""2018-03-15T10:00:00.0000000Z""#),
        |args| add(args, Unit::Ticks(HOUR)),
    ),
    row(
        "addDays",
        &[TIME, one("days", NUMBER), FORMAT],
        "The time so many days later, or with a negative number earlier.",
        example(
            r#"{{addDays vars.due -5 "yyyy-MM-dd"}}"#,
            r#"{"vars":{"due":"2018-03-15T00:00:00Z"}}"#,
            r#""2018-03-10""#,
        ),
        |args| add(args, Unit::Ticks(DAY)),
    ),
    row(
        "dateDifference",
        &[one("start", TEXT), one("end", TEXT)],
        "How long it is from the first time to the second: `[-][d.]hh:mm:ss[.fffffff]`.",
        example(r#"{{dateDifference "2015-02-08" "2018-07-30"}}"#, "{}", r#""1268.00:00:00""#),
        date_difference,
    ),
    row(
        "convertTimeZone",
        &[TIME, one("from", TEXT), one("to", TEXT), FORMAT],
        "The time in another zone, by Windows' names of zones or IANA's. A time with `Z` or an offset goes only with `UTC` as its zone.",
        example(
            r#"{{convertTimeZone "2018-01-01T08:00:00Z" "UTC" "Pacific Standard Time"}}"#,
            "{}",
            r#""2018-01-01T00:00:00.0000000""#,
        ),
        convert_time_zone,
    ),
    row(
        "convertToUtc",
        &[TIME, one("from", TEXT), FORMAT],
        "The time of a zone's clocks in UTC. A time that the clocks show twice is the one in standard time.",
        example(
            r#"{{convertToUtc "01/01/2018 00:00:00" "Pacific Standard Time"}}"#,
            "{}",
            r#""2018-01-01T08:00:00.0000000Z""#,
        ),
        convert_to_utc,
    ),
    row(
        "convertFromUtc",
        &[TIME, one("to", TEXT), FORMAT],
        "The time in UTC as a zone's clocks show it, without `Z`.",
        example(r#"{{convertFromUtc "2018-07-01T08:00:00Z" "Europe/Berlin" "g"}}"#, "{}", r#""7/1/2018 10:00 AM""#),
        convert_from_utc,
    ),
    row(
        "formatDateTime",
        &[TIME, FORMAT, LOCALE],
        "The time by a .NET format, standard or custom, in a language (en-US, where none is given).",
        example(r#"{{formatDateTime "01/31/2016" "dddd MMMM d" "fr-fr"}}"#, "{}", r#""dimanche janvier 31""#),
        format_date_time,
    ),
    row(
        "parseDateTime",
        &[one("text", TEXT), LOCALE, FORMAT],
        "A time from text as a language writes it, or exactly as a .NET format says.",
        example(r#"{{parseDateTime "20/10/2014" "fr-fr"}}"#, "{}", r#""2014-10-20T00:00:00.0000000""#),
        parse_date_time,
    ),
    row(
        "startOfHour",
        &[TIME, FORMAT],
        "The time at which its hour began.",
        example(r#"{{startOfHour "2018-03-15T13:30:30Z"}}"#, "{}", r#""2018-03-15T13:00:00.0000000Z""#),
        |args| start(args, HOUR),
    ),
    row(
        "startOfDay",
        &[TIME, FORMAT],
        "The time at which its day began.",
        example(r#"{{startOfDay "2018-03-15T13:30:30Z"}}"#, "{}", r#""2018-03-15T00:00:00.0000000Z""#),
        |args| start(args, DAY),
    ),
    row(
        "startOfMonth",
        &[TIME, FORMAT],
        "The time at which its month began.",
        example(r#"{{startOfMonth "2018-03-15T13:30:30Z" "yyyy-MM-dd"}}"#, "{}", r#""2018-03-01""#),
        start_of_month,
    ),
    row(
        "formatTimeSpan",
        &[one("span", TEXT), one("format", TEXT), LOCALE],
        "A stretch of time by a .NET format: `c`, `g`, `G`, or one of d, h, m, s, f, with all else quoted or behind `\\`.",
        example(r#"{{formatTimeSpan "1.02:03:04" "d' days 'hh'h'"}}"#, "{}", r#""1 days 02h""#),
        format_time_span,
    ),
    count(
        "dayOfWeek",
        "The day of the week; 0 is Sunday.",
        example(r#"{{dayOfWeek "2018-03-15T13:27:36Z"}}"#, "{}", "4"),
        |args| Ok(Cow::Owned(Value::from(read(args, 0)?.weekday()))),
    ),
    count(
        "dayOfMonth",
        "The day of the month.",
        example(r#"{{dayOfMonth "2018-03-15T13:27:36Z"}}"#, "{}", "15"),
        |args| Ok(Cow::Owned(Value::from(read(args, 0)?.date().day()))),
    ),
    count(
        "dayOfYear",
        "The day of the year; 1 is the first.",
        example(r#"{{dayOfYear "2018-03-15T13:27:36Z"}}"#, "{}", "74"),
        |args| Ok(Cow::Owned(Value::from(read(args, 0)?.date().day_of_year()))),
    ),
    count(
        "ticks",
        "The stretches of 100 nanoseconds since the year 1.",
        example(r#"{{ticks "2018-01-01T08:00:00Z"}}"#, "{}", "636503904000000000"),
        |args| Ok(Cow::Owned(Value::from(read(args, 0)?.ticks))),
    ),
];
