//! Settings of a node's place among many: how many links, how soon somebody is missed. Not responsible for what they do:
//! `proto` is. What is not said is the profile's.

use crate::Error;
use crate::proto::config::NodeConfig;
use crate::proto::membership::ActiveLinks;
use std::time::Duration;

/// With more links a node of a large cluster would be one of a mesh.
const LINKS_CEILING: usize = 64;
/// Shorter times are those of a mistake.
const ANCHOR_FLOOR: Duration = Duration::from_millis(100);
const SUSPECT_FLOOR: Duration = Duration::from_millis(100);
const GRAFT_FLOOR: Duration = Duration::from_millis(1);
const FORGET_FLOOR: Duration = Duration::from_secs(1);

/// What was said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverlayConfig {
    /// At least, and at most.
    pub(crate) links: Option<(usize, usize)>,
    pub(crate) anchor_every: Option<Duration>,
    pub(crate) suspect_for: Option<Duration>,
    pub(crate) forget_members: Option<Duration>,
    pub(crate) graft_after: Option<Duration>,
    pub(crate) leaf: bool,
}

impl OverlayConfig {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.links.map_or(Ok(()), check_links)?;
        for (setting, said, floor) in [
            ("anchor_every", self.anchor_every, ANCHOR_FLOOR),
            ("suspect_for", self.suspect_for, SUSPECT_FLOOR),
            ("forget_members", self.forget_members, FORGET_FLOOR),
            ("graft_after", self.graft_after, GRAFT_FLOOR),
        ] {
            if said.is_some_and(|said| said < floor) {
                return Err(Error::config(setting, format!("give {floor:?} or more")));
            }
        }
        Ok(())
    }

    /// Says to a node of the profile what was said here.
    pub(crate) fn apply(&self, node: &mut NodeConfig) {
        if self.leaf {
            (node.leaf, node.links) = (true, ActiveLinks::LEAF);
        }
        if let Some((min, max)) = self.links {
            node.links = ActiveLinks::between(min, max);
        }
        if let Some(lifetime) = self.forget_members {
            node.forget_member_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        }
        for (said, set) in [
            (self.anchor_every, &mut node.anchor_every),
            (self.suspect_for, &mut node.suspect_for),
            (self.graft_after, &mut node.graft_after),
        ] {
            *set = said.unwrap_or(*set);
        }
    }
}

fn check_links((min, max): (usize, usize)) -> Result<(), Error> {
    let problem = match (min, max) {
        (..=1, _) => "with fewer than 2 links the nodes would fall apart in pairs".to_owned(),
        (_, LINKS_CEILING..) if max > LINKS_CEILING => format!("no node has use for more than {LINKS_CEILING} links"),
        (min, max) if max <= min => {
            format!("who has {min} links must be able to take another: give {min}..{}", min + 1)
        }
        _ => return Ok(()),
    };
    Err(Error::config("links", problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::ReplicaId;

    fn refusal(config: OverlayConfig) -> String {
        config.check().expect_err("refused").to_string()
    }

    #[test]
    fn links_leave_room_for_one_more() {
        let links = |min, max| OverlayConfig { links: Some((min, max)), ..OverlayConfig::default() };
        assert!(links(2, 3).check().is_ok() && links(4, 64).check().is_ok());
        for (min, max, expected) in [(1, 3, "fall apart"), (4, 4, "give 4..5"), (6, 4, "give 6..7"), (4, 65, "than 64")]
        {
            let said = refusal(links(min, max));
            assert!(said.starts_with("links: ") && said.contains(expected), "{said}");
        }
    }

    #[test]
    fn times_have_floors() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let all = OverlayConfig::default();
        for (config, name) in [
            (OverlayConfig { anchor_every: ms(99), ..all }, "anchor_every"),
            (OverlayConfig { suspect_for: ms(99), ..all }, "suspect_for"),
            (OverlayConfig { forget_members: ms(999), ..all }, "forget_members"),
            (OverlayConfig { graft_after: ms(0), ..all }, "graft_after"),
        ] {
            assert!(refusal(config).starts_with(&format!("{name}: give ")), "{}", refusal(config));
        }
    }

    #[test]
    fn what_is_not_said_is_the_profiles() {
        let id = ReplicaId::from(1);
        let (mut node, usual) = (NodeConfig::metered(id), NodeConfig::metered(id));
        OverlayConfig { suspect_for: Some(Duration::from_secs(7)), ..OverlayConfig::default() }.apply(&mut node);
        assert_eq!((node.suspect_for.as_secs(), node.links), (7, usual.links));
        assert_eq!((node.anchor_every, node.graft_after), (usual.anchor_every, usual.graft_after));
        let said = OverlayConfig {
            links: Some((4, 8)),
            forget_members: Some(Duration::from_secs(60)),
            ..OverlayConfig::default()
        };
        said.apply(&mut node);
        assert_eq!((node.links, node.forget_member_ms), (ActiveLinks { min: 4, fill: 6, max: 8 }, 60_000));
    }
}
