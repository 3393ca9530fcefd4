//! Dates and times, as Microsoft's language has them: texts in, texts out, by .NET's formats.
//!
//! A text with an offset is turned to UTC and stays so; one without any zone gets none. `now` is the run's.

mod exact;
mod format;
mod moment;
mod pattern;
mod read;
mod rows;
mod span;
mod zone;

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::culture::{self, Culture};
use super::{Args, Fault, Param, TEXT, maybe, string};
use crate::mapping::check::nearest;
use crate::schema::Types;
use moment::{Moment, Unit, Zone};

pub(super) use rows::ROWS;

type Outcome<'e> = Result<Cow<'e, Value>, Fault>;

/// May be left out, or null, which means the same.
const FORMAT: Param = maybe("format", TEXT.or(Types::NULL));
pub(super) const LOCALE: Param = maybe("locale", TEXT.or(Types::NULL));

/// The run's present.
fn now(args: Args<'_>) -> Result<Moment, Fault> {
    Moment::of_timestamp(args.context.scope.now())
        .ok_or_else(|| Fault::new("mapping.value", "the present is outside of the years 1 to 9999"))
}

/// Argument `i` if it was given.
pub(super) fn given(args: Args<'_>, i: usize) -> Result<Option<Cow<'_, str>>, Fault> {
    if i >= args.len() || args.value(i)?.is_null() {
        return Ok(None);
    }
    args.text(i).map(Some)
}

/// The point of time that argument `i` holds.
fn read(args: Args<'_>, i: usize) -> Result<Moment, Fault> {
    read::parse(&args.text(i)?, culture::default(), now(args)?).map_err(|why| args.wrong(i, &why))
}

/// The culture that argument `i` names, or en-US.
pub(super) fn locale(args: Args<'_>, i: usize) -> Result<&'static Culture, Fault> {
    let Some(name) = given(args, i)? else {
        return Ok(culture::default());
    };
    culture::find(&name).ok_or_else(|| args.wrong(i, "is no locale that is known; write it like `de-DE`"))
}

/// `at` by the format that argument `i` holds, or `o`.
fn show<'e>(args: Args<'e>, at: Moment, i: usize, culture: &'static Culture) -> Outcome<'e> {
    let text = given(args, i)?;
    let format = pattern::read(text.as_deref().unwrap_or("o"), culture).map_err(|why| args.wrong(i, &why))?;
    let text = format::format(at, &format);
    args.context.meter().work(text.len())?;
    string(text)
}

fn zone(args: Args<'_>, i: usize) -> Result<TimeZone, Fault> {
    let name = args.text(i)?;
    zone::find(&name).ok_or_else(|| {
        let hint = nearest(&name, zone::windows()).map(|near| format!("; did you mean `{near}`?"));
        args.wrong(i, &format!("is no time zone that is known{}", hint.unwrap_or_default()))
    })
}

fn too_far(args: Args<'_>, i: usize) -> Fault {
    args.wrong(i, "leads out of the years 1 to 9999")
}

/// `addDays` and its kin: count in argument 1, format in argument 2.
fn add(args: Args<'_>, unit: Unit) -> Outcome<'_> {
    let at = read(args, 0)?.shifted(args.count(1)?, unit).ok_or_else(|| too_far(args, 1))?;
    show(args, at, 2, culture::default())
}

fn utc_now(args: Args<'_>) -> Outcome<'_> {
    show(args, now(args)?, 0, culture::default())
}

/// Count and unit in arguments `i` and `i + 1`; `sign` is -1 for the past.
fn shift(args: Args<'_>, at: Moment, i: usize, sign: i64) -> Outcome<'_> {
    let count = args.count(i)?.checked_mul(sign).ok_or_else(|| too_far(args, i))?;
    let unit = Unit::named(&args.text(i + 1)?).ok_or_else(|| {
        args.wrong(i + 1, "is no unit of time; there are Second, Minute, Hour, Day, Week, Month and Year")
    })?;
    let at = at.shifted(count, unit).ok_or_else(|| too_far(args, i))?;
    show(args, at, i + 2, culture::default())
}

/// The point at which the clocks of a zone show what argument 0 holds.
fn to_utc<'e>(args: Args<'e>, zone: &TimeZone, i: usize) -> Result<Moment, Fault> {
    let local = read(args, 0)?;
    if local.zone != Zone::None && *zone == TimeZone::UTC {
        return Ok(local.with_zone(Zone::Utc));
    }
    if local.zone != Zone::None {
        let why = "names a zone, but the time has one of its own (`Z` or an offset); leave it away there, or write `UTC` here";
        return Err(args.wrong(i, why));
    }
    match zone::to_utc(local, zone) {
        Ok(Some(at)) => Ok(at),
        Ok(None) => Err(too_far(args, 0)),
        Err(()) => Err(args.wrong(0, "is a time that the clocks of its zone leave out, when they go forward")),
    }
}

fn convert_time_zone(args: Args<'_>) -> Outcome<'_> {
    let (from, to) = (zone(args, 1)?, zone(args, 2)?);
    let at = to_utc(args, &from, 1)?;
    show(args, zone::from_utc(at, &to).ok_or_else(|| too_far(args, 0))?, 3, culture::default())
}

fn convert_to_utc(args: Args<'_>) -> Outcome<'_> {
    let from = zone(args, 1)?;
    show(args, to_utc(args, &from, 1)?, 2, culture::default())
}

fn convert_from_utc(args: Args<'_>) -> Outcome<'_> {
    let to = zone(args, 1)?;
    let at = zone::from_utc(read(args, 0)?, &to).ok_or_else(|| too_far(args, 0))?;
    show(args, at, 2, culture::default())
}

fn format_date_time(args: Args<'_>) -> Outcome<'_> {
    show(args, read(args, 0)?, 1, locale(args, 2)?)
}

fn parse_date_time(args: Args<'_>) -> Outcome<'_> {
    let (text, culture) = (args.text(0)?, locale(args, 1)?);
    let at = match given(args, 2)? {
        None => read::parse(&text, culture, now(args)?).map_err(|why| args.wrong(0, &why))?,
        Some(format) => {
            let format = pattern::read(&format, culture).map_err(|why| args.wrong(2, &why))?;
            exact::parse(&text, &format, now(args)?).map_err(|why| args.wrong(0, &why))?
        }
    };
    let format = pattern::read("o", culture).map_err(|why| args.wrong(0, &why))?;
    string(format::format(at, &format))
}

/// The last whole multiple of `unit`.
fn start(args: Args<'_>, unit: i64) -> Outcome<'_> {
    let at = read(args, 0)?;
    show(args, at.plus(-(at.ticks % unit)).unwrap_or(at), 1, culture::default())
}

fn start_of_month(args: Args<'_>) -> Outcome<'_> {
    let at = read(args, 0)?;
    let days = i64::from(at.date().day()) - 1;
    show(args, at.plus(-days * moment::DAY - at.clock()).unwrap_or(at), 1, culture::default())
}

fn date_difference(args: Args<'_>) -> Outcome<'_> {
    let (from, to) = (read(args, 0)?, read(args, 1)?);
    string(span::constant(to.ticks - from.ticks))
}

fn format_time_span(args: Args<'_>) -> Outcome<'_> {
    let why = "is no stretch of time; it is written `[d.]hh:mm:ss[.fffffff]`";
    let ticks = span::parse(&args.text(0)?).ok_or_else(|| args.wrong(0, why))?;
    let text = span::format(ticks, &args.text(1)?, locale(args, 2)?).map_err(|why| args.wrong(1, &why))?;
    string(text)
}
