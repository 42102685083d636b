//! Signs of life of links, from what their connections have received. Not responsible for what follows from a silence.
//!
//! Frames are too few to tell: a link that has nothing to say lives by QUIC's keep-alives alone. Time is counted in looks,
//! not read from a clock: while this process itself does not run, no peer is silent.

use crate::proto::link::LinkId;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often links are looked at: a silence is known that exactly.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was heard of each link.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    links: BTreeMap<LinkId, Heard>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    bytes: u64,
    silent_looks: u32,
}

impl Hearing {
    /// A look at all links, with the bytes that each has received: those that gave a sign of life, and after which silence.
    pub(super) fn look(&mut self, received: &[(LinkId, u64)]) -> Vec<(LinkId, Duration)> {
        self.links.retain(|link, _| received.iter().any(|(known, _)| known == link));
        let mut heard = Vec::new();
        for &(link, bytes) in received {
            let silence = self.hear(link, bytes);
            if silence.is_none() {
                self.links.entry(link).or_default().silent_looks += 1;
            }
            heard.extend(silence.map(|silence| (link, silence)));
        }
        heard
    }

    /// A look at one link out of turn, because a frame came: the silence that it ended, if any bytes are new.
    pub(super) fn hear(&mut self, link: LinkId, bytes: u64) -> Option<Duration> {
        let heard = self.links.entry(link).or_default();
        if heard.bytes == bytes {
            return None;
        }
        let silent_looks = std::mem::take(&mut heard.silent_looks);
        heard.bytes = bytes;
        Some(LOOK_EVERY * silent_looks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    #[test]
    fn a_silence_is_as_long_as_the_looks_without_a_byte() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.look(&[(LINK, 10)]), [(LINK, Duration::ZERO)]);
        for _ in 0..20 {
            assert_eq!(hearing.look(&[(LINK, 10)]), []);
        }
        assert_eq!(hearing.hear(LINK, 11), Some(LOOK_EVERY * 20));
        assert_eq!(hearing.hear(LINK, 11), None, "the same bytes are no other sign");
        assert_eq!(hearing.look(&[(LINK, 12)]), [(LINK, Duration::ZERO)]);
    }

    #[test]
    fn a_link_that_is_gone_is_forgotten() {
        let mut hearing = Hearing::default();
        hearing.look(&[(LINK, 10)]);
        hearing.look(&[]);
        assert!(hearing.links.is_empty());
    }
}
