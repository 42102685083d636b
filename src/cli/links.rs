//! How many links, as people write it. Not responsible for which numbers can work: the configuration is.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

const EXPECTED: &str = "how many links at least and at most, as 4..6, or the first number alone";

/// From so many to so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Links {
    /// Two ends that both have what they want may still lack a partner: there is room for one more.
    fn of(min: usize) -> Self {
        Self { min, max: min.saturating_add(1) }
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl FromStr for Links {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |_| format!("give {EXPECTED}");
        match text.split_once("..") {
            Some((min, max)) => Ok(Self { min: min.parse().map_err(refuse)?, max: max.parse().map_err(refuse)? }),
            None => text.parse().map(Self::of).map_err(refuse),
        }
    }
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Links {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText)
    }
}

/// In a file it may be a number, or text.
struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Links;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Links, E> {
        usize::try_from(number).map(Links::of).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Links, E> {
        usize::try_from(number).map(Links::of).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Links, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_or_a_number() {
        assert_eq!("4..6".parse(), Ok(Links { min: 4, max: 6 }));
        assert_eq!("3".parse(), Ok(Links { min: 3, max: 4 }));
        for text in ["", "..", "4..", "..6", "-1", "4-6", "4..6..8", "few"] {
            assert!(text.parse::<Links>().is_err_and(|error| error.contains("4..6")), "{text}");
        }
    }

    #[test]
    fn a_file_may_have_either() {
        #[derive(Deserialize)]
        struct File {
            links: Links,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.links);
        assert_eq!(read("links = 3").expect("a number"), read("links = '3..4'").expect("text"));
        for text in ["links = -1", "links = 'few'", "links = true"] {
            assert!(read(text).is_err_and(|error| error.to_string().contains("4..6")), "{text}");
        }
    }
}
