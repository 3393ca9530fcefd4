//! Stretches of time as text, by .NET's format strings of `TimeSpan`.

use super::moment::{DAY, HOUR, MINUTE, SECOND};
use crate::mapping::functions::culture::Culture;

/// `1268.00:00:00`, `-01:30:00.5000000`: .NET's constant format `c`.
pub(super) fn constant(ticks: i64) -> String {
    let (days, rest) = parts(ticks);
    let sign = if ticks < 0 { "-" } else { "" };
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let fraction = match rest % SECOND as u64 {
        0 => String::new(),
        fraction => format!(".{fraction:07}"),
    };
    format!("{sign}{days}{}{fraction}", clock(rest, 2))
}

/// Whole days, and the ticks of the last one.
fn parts(ticks: i64) -> (u64, u64) {
    let size = ticks.unsigned_abs();
    (size / DAY as u64, size % DAY as u64)
}

fn clock(rest: u64, width: usize) -> String {
    let part = |unit: i64, of: u64| rest / unit as u64 % of;
    format!("{:0width$}:{:02}:{:02}", part(HOUR, 24), part(MINUTE, 60), part(SECOND, 60))
}

/// Reads `d`, `[d.]hh:mm[:ss[.fffffff]]`, `d:hh:mm:ss[.fffffff]`, with a sign before it.
pub(super) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let whole = |part: &str, most: i64| {
        let digits = !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>().ok().filter(|value| digits && *value <= most)
    };
    let size = match text.split_once(':') {
        None => whole(text, 10_675_199)?.checked_mul(DAY)?,
        Some((first, rest)) => {
            // Days stand before a point, or before one colon more.
            let (days, hours, rest) = match (first.split_once('.'), rest.split_once(':')) {
                (Some((days, hours)), _) => (days, hours, rest),
                (None, Some((hours, more))) if more.contains(':') => (first, hours, more),
                (None, _) => ("0", first, rest),
            };
            let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
            let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            if fraction.len() > 7 {
                return None;
            }
            let fraction = whole(&format!("{fraction:0<7}"), SECOND)?;
            let clock = whole(hours, 23)? * HOUR + whole(minutes, 59)? * MINUTE + whole(seconds, 59)? * SECOND;
            whole(days, 10_675_199)?.checked_mul(DAY)?.checked_add(clock + fraction)?
        }
    };
    Some(if negative { -size } else { size })
}

/// `ticks` by a standard (`c`, `g`, `G`) or custom (`d\.hh\:mm`) format string; the error says what is wrong with it.
pub(super) fn format(ticks: i64, format: &str, culture: &Culture) -> Result<String, String> {
    let (days, rest) = parts(ticks);
    let sign = if ticks < 0 { "-" } else { "" };
    let fraction = format!("{:07}", rest % SECOND as u64);
    let hours = rest / HOUR as u64;
    match format {
        "" | "c" | "t" | "T" => return Ok(constant(ticks)),
        "g" => {
            let days = if days > 0 { format!("{days}:") } else { String::new() };
            let digits = fraction.trim_end_matches('0');
            let digits = if digits.is_empty() { String::new() } else { format!("{}{digits}", culture.decimal) };
            return Ok(format!("{sign}{days}{hours}{}{digits}", &clock(rest, 2)[2..]));
        }
        "G" => return Ok(format!("{sign}{days}:{}{}{fraction}", clock(rest, 2), culture.decimal)),
        _ if format.chars().count() == 1 => {
            return Err(format!("is no format of a stretch of time: `{format}` alone has no meaning"));
        }
        _ => {}
    }
    custom(days, rest, &fraction, format)
}

/// Custom formats show no sign, and refuse any letter that is neither a specifier nor quoted.
fn custom(days: u64, rest: u64, fraction: &str, format: &str) -> Result<String, String> {
    let chars: Vec<char> = format.chars().collect();
    let mut out = String::new();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let run = chars[i..].iter().take_while(|next| **next == c).count();
        let part = |unit: i64, of: u64| rest / unit as u64 % of;
        let most = match c {
            'd' => 8,
            'h' | 'm' | 's' => 2,
            'f' | 'F' => 7,
            _ => usize::MAX,
        };
        if run > most {
            return Err(format!("is no format of a stretch of time: at most {most} `{c}` stand in a row"));
        }
        match c {
            'd' => out += &format!("{days:0run$}"),
            'h' => out += &format!("{:0run$}", part(HOUR, 24)),
            'm' => out += &format!("{:0run$}", part(MINUTE, 60)),
            's' => out += &format!("{:0run$}", part(SECOND, 60)),
            'f' => out += &fraction[..run],
            'F' => out += fraction[..run].trim_end_matches('0'),
            '\\' => {
                let next =
                    chars.get(i + 1).ok_or("is no format of a stretch of time: nothing follows its last `\\`")?;
                out.push(*next);
                i += 2;
                continue;
            }
            '%' if chars.get(i + 1).is_some_and(|next| *next != '%') => {
                i += 1;
                continue;
            }
            '\'' | '"' => {
                let end = chars[i + 1..].iter().position(|next| *next == c);
                let end =
                    end.ok_or_else(|| format!("is no format of a stretch of time: the quote {c} is not closed"))?;
                out.extend(&chars[i + 1..i + 1 + end]);
                i += end + 2;
                continue;
            }
            other => {
                return Err(format!(
                    "is no format of a stretch of time: `{other}` must be quoted or stand behind `\\`"
                ));
            }
        }
        i += run;
    }
    Ok(out)
}
