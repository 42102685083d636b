//! What the values of the flags of `simulate` look like. Not responsible for what they stand for.

use crate::simulate::{Crash, Joins, Partition, Writers};
use std::str::FromStr;

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|rate| *rate <= 1e6)
        .ok_or_else(|| "give how many a second, up to 1000000, as 10 or 0.5".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number = number(text).filter(|seconds| *seconds <= 86_400.0);
    number.ok_or_else(|| "give seconds, up to 86400, as 10 or 0.5".to_owned())
}

/// `0.05` or `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| percent / 100.0),
            None => number(text),
        };
        share.filter(|share| *share <= 1.0).map(Self).ok_or_else(|| "give a share, as 0.05 or 5%".to_owned())
    }
}

/// `20` or `10..50`, in milliseconds; kept in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency(pub(super) (u64, u64));

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let us = |text: &str| number(text).filter(|ms| *ms <= 60_000.0).map(|ms| (ms * 1_000.0) as u64);
        let range = us(least).zip(us(most)).filter(|(least, most)| least <= most);
        range.map(Self).ok_or_else(|| "give milliseconds up to 60000, as 20 or 10..50".to_owned())
    }
}

/// `first`, `all`, or how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct JoinArg(pub(super) Joins);

impl FromStr for JoinArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("first", _) => Ok(Self(Joins::First)),
            ("all", _) => Ok(Self(Joins::All)),
            (_, Ok(count @ 1..=100)) => Ok(Self(Joins::Random(count))),
            _ => Err("give first, all, or how many each joins, 1 to 100".to_owned()),
        }
    }
}

/// `one`, `any`, or how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WritersArg(pub(super) Writers);

impl FromStr for WritersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("one", _) => Ok(Self(Writers::One)),
            ("any", _) => Ok(Self(Writers::Any)),
            (_, Ok(count @ 1..)) => Ok(Self(Writers::Some(count))),
            _ => Err("give one, any, or how many nodes write".to_owned()),
        }
    }
}

/// `50%@2..8`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PartitionArg(pub(super) Partition);

impl FromStr for PartitionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (share, times) = text.split_once('@')?;
            let (from, to) = times.split_once("..")?;
            let (from_s, to_s) = (number(from)?, number(to)?);
            let partition = Partition { share: share.parse::<Share>().ok()?.0, from_s, to_s, one_way: false };
            (from_s < to_s).then_some(Self(partition))
        };
        parse().ok_or_else(|| "give which share of the nodes and when, as 50%@2..8".to_owned())
    }
}

/// `10%`, `10%@5` or `10%@5+3`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CrashArg(pub(super) Crash);

impl FromStr for CrashArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (share, times) = text.split_once('@').map_or((text, None), |(share, times)| (share, Some(times)));
            let (at, back) = match times {
                Some(times) => times.split_once('+').map_or((times, None), |(at, back)| (at, Some(back))),
                None => ("0", None),
            };
            let back_after_s = back.map(|back| number(back).ok_or(())).transpose().ok()?;
            Some(Self(Crash { share: share.parse::<Share>().ok()?.0, at_s: number(at)?, back_after_s }))
        };
        parse().ok_or_else(|| "give which share of the nodes, when, and back after how long, as 10%@5+3".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_times_and_latencies_are_read() {
        assert_eq!(("5%".parse(), "0.05".parse()), (Ok(Share(0.05)), Ok(Share(0.05))));
        assert_eq!("20".parse(), Ok(Latency((20_000, 20_000))));
        assert_eq!("0.5..50".parse(), Ok(Latency((500, 50_000))));
        let partition = Partition { share: 0.5, from_s: 2.0, to_s: 8.0, one_way: false };
        assert_eq!("50%@2..8".parse(), Ok(PartitionArg(partition)));
        let crash = Crash { share: 0.1, at_s: 5.0, back_after_s: Some(3.0) };
        assert_eq!("10%@5+3".parse(), Ok(CrashArg(crash)));
        assert_eq!("0.1".parse(), Ok(CrashArg(Crash { at_s: 0.0, back_after_s: None, ..crash })));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let of = |results: [Result<(), String>; 8]| results.map(|result| result.expect_err("it is wrong"));
        let wrong = of([
            "2".parse::<Share>().map(drop),
            "-1".parse::<Share>().map(drop),
            "50..10".parse::<Latency>().map(drop),
            "NaN".parse::<Latency>().map(drop),
            "some".parse::<JoinArg>().map(drop),
            "0".parse::<WritersArg>().map(drop),
            "50%@8..2".parse::<PartitionArg>().map(drop),
            "10%@5+x".parse::<CrashArg>().map(drop),
        ]);
        assert!(wrong.iter().all(|message| message.starts_with("give ")), "{wrong:?}");
    }
}
