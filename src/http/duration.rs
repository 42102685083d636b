//! Durations as people write them. Not responsible for which are sensible where.

use std::time::Duration;

const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Reads a number and its unit: `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no duration: give a number and ms, s, m, h or d, as 30s");
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
    let number: f64 = number.parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())
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
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "30", "s", "-1s", "1.2.3s", "1 s", "1w", "inf s", "9999999999999999999999d"] {
            assert!(parse(text).is_err_and(|e| e.contains("as 30s")), "{text}");
        }
        assert!(parse_ttl("0s").is_err());
    }
}
