//! Bytes a second as people write them. Not responsible for which are sensible.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

const UNITS: [(&str, u64); 6] =
    [("", 1), ("k", 1_000), ("K", 1_000), ("M", 1_000_000), ("m", 1_000_000), ("G", 1_000_000_000)];

const EXPECTED: &str = "bytes a second, as 8000, 8k or 1M; 0 for no limit";

/// So many bytes a second; none is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Rate(pub(super) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("give {EXPECTED}");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        let number: u64 = number.parse().map_err(|_| refuse())?;
        number.checked_mul(*factor).map(Self).ok_or_else(refuse)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText)
    }
}

/// In a file it may be a number, or text with a unit.
struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Rate, E> {
        Ok(Rate(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
        u64::try_from(number).map(Rate).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_or_without() {
        for (text, bytes) in [("0", 0), ("8000", 8_000), ("8k", 8_000), ("12M", 12_000_000), ("1G", 1_000_000_000)] {
            assert_eq!(text.parse(), Ok(Rate(bytes)));
        }
        for text in ["", "k", "-1", "8 k", "8kB", "1.5M", "99999999999999999999", "99999999999G"] {
            assert!(text.parse::<Rate>().is_err_and(|error| error.contains("8k")), "{text}");
        }
    }

    #[test]
    fn a_file_may_have_either() {
        #[derive(Deserialize)]
        struct File {
            rate: Rate,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.rate);
        assert_eq!(read("rate = 8000").expect("a number"), read("rate = '8k'").expect("text"));
        for text in ["rate = -1", "rate = 'fast'", "rate = true"] {
            assert!(read(text).is_err_and(|error| error.to_string().contains("8000, 8k or 1M")), "{text}");
        }
    }
}
