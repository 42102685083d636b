//! Durations as people write them. Not responsible for which are sensible where.

use std::time::Duration;

const MS: u128 = 1_000_000;
/// In nanoseconds.
const UNITS: [(&str, u128); 5] =
    [("ms", MS), ("s", 1_000 * MS), ("m", 60_000 * MS), ("h", 3_600_000 * MS), ("d", 86_400_000 * MS)];
/// More digits after the point than this are below a nanosecond, of whatever unit.
const FRACTION_MAX: usize = 15;

/// Reads a number and its unit: `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no duration: give a number and ms, s, m, h or d, as 30s");
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let (_, of) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
    nanos(number, *of).and_then(in_seconds).ok_or_else(refuse)
}

/// In whole numbers: as a fraction of two, many milliseconds would be one less than was written.
fn nanos(number: &str, of: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return None;
    }
    let read = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let fraction = &fraction[..fraction.len().min(FRACTION_MAX)];
    let rest = read(fraction)? * of / 10_u128.pow(fraction.len() as u32);
    read(whole)?.checked_mul(of)?.checked_add(rest)
}

fn in_seconds(nanos: u128) -> Option<Duration> {
    let second = 1_000 * MS;
    Some(Duration::new((nanos / second).try_into().ok()?, (nanos % second) as u32))
}

/// As [`parse`], for the life of a value: a life of no length is refused.
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        ttl if ttl < Duration::from_millis(1) => Err(format!("a ttl of {text:?} is too short: give 1ms or more")),
        ttl => Ok(ttl),
    }
}

/// As [`parse`] reads it, in the largest unit that leaves no rest; what is below a millisecond is left out.
pub(crate) fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.iter().find(|(_, of)| ms >= *of && ms.is_multiple_of(*of)) {
        Some((unit, of)) => format!("{}{unit}", ms / of),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["250ms", "1500ms", "10s", "90s", "30m", "2h", "1d", "0ms"] {
            assert_eq!(parse(text).map(written).as_deref(), Ok(text));
        }
        assert_eq!(parse("120s").map(written).as_deref(), Ok("2m"));
    }

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("0.7s"), Ok(Duration::from_millis(700)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!((parse("1.s"), parse(".5s")), (Ok(Duration::from_secs(1)), Ok(Duration::from_millis(500))));
        assert_eq!(parse("0.0000000019999999999999999s"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn many_milliseconds_are_not_one_less_than_was_written() {
        for text in ["266666666665ms", "4294967295001ms", "9007199254740993ms", "18446744073709551615999ms"] {
            assert_eq!(parse(text).map(written).as_deref(), Ok(text));
        }
        assert_eq!(parse("18446744073709551615s"), Ok(Duration::from_secs(u64::MAX)));
        assert!(parse("18446744073709551616s").is_err());
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "30", "s", ".s", "-1s", "1.2.3s", "1..s", "1 s", "1w", "inf s", "9999999999999999999999d"] {
            assert!(parse(text).is_err_and(|e| e.contains("as 30s")), "{text}");
        }
        assert!(parse_ttl("0s").is_err());
    }
}
