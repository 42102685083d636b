//! Connections between nodes, in little room. Not responsible for what is on its way on them: that is events.

use crate::proto::link::LinkId;
use smallvec::SmallVec;

/// So many channels that were reset lately are known for each side: a peer has at most a few pulls at once.
const DEAD_MAX: usize = 8;

/// Names a connection for ever: where it stands, and how many have stood there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WireId(pub(super) u64);

/// A link has a name of its own at each end.
pub(super) fn link_of(wire: WireId, side: usize) -> LinkId {
    LinkId(wire.0 * 2 + side as u64)
}

/// The connection, and which end it is.
pub(super) fn end_of(link: LinkId) -> (WireId, usize) {
    (WireId(link.0 / 2), (link.0 % 2) as usize)
}

/// One connection. Side 0 has dialled. What is kept for a side is about what goes to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) ends: [u32; 2],
    /// Knows of the connection,
    pub(super) up: [bool; 2],
    /// and that it is gone.
    pub(super) gone: [bool; 2],
    /// What arrives waits until then, for the path to be mended and for what was sent before.
    pub(super) held_us: [u64; 2],
    /// Since when nothing can have been heard; 0 if that is not so.
    pub(super) silent_us: [u64; 2],
    /// Of what it has sent nothing arrives later than this: its machine is off, and sends nothing again. 0 if it is not so.
    pub(super) until_us: [u64; 2],
    /// Channels on which something may be on its way, and when the last of it arrives.
    last_us: [SmallVec<[(u64, u64); 1]>; 2],
    /// Channels of which it wants nothing more, the latest.
    dead: [SmallVec<[u64; 2]>; 2],
}

impl Wire {
    pub(super) fn end(&self, side: usize) -> usize {
        self.ends[side] as usize
    }

    /// Two nodes have one connection at most twice, and none with themselves.
    pub(super) fn side_of(&self, who: usize) -> usize {
        usize::from(self.end(1) == who)
    }

    /// When something sent on the channel that would be there at that moment is there: not before what was sent earlier.
    pub(super) fn in_turn(&mut self, side: usize, channel: u64, there_us: u64, now_us: u64) -> u64 {
        let last = &mut self.last_us[side];
        if let Some(known) = last.iter_mut().find(|(known, _)| *known == channel) {
            known.1 = known.1.max(there_us);
            return known.1;
        }
        last.retain(|(_, at_us)| *at_us >= now_us);
        last.push((channel, there_us));
        there_us
    }

    pub(super) fn is_dead(&self, side: usize, channel: u64) -> bool {
        self.dead[side].contains(&channel)
    }

    /// The side wants nothing more of the channel. Whether that is new.
    pub(super) fn bury(&mut self, side: usize, channel: u64) -> bool {
        let dead = &mut self.dead[side];
        if dead.contains(&channel) {
            return false;
        }
        if dead.len() == DEAD_MAX {
            dead.remove(0);
        }
        dead.push(channel);
        true
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Wires {
    places: Vec<(u32, Option<Box<Wire>>)>,
    free: Vec<u32>,
}

impl Wires {
    pub(super) fn open(&mut self, ends: [usize; 2]) -> WireId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (generation, wire) = &mut self.places[place as usize];
        *generation += 1;
        *wire = Some(Box::new(Wire { ends: ends.map(|end| end as u32), ..Wire::default() }));
        WireId((u64::from(*generation) << 31) | u64::from(place))
    }

    /// Forgets a connection: what is still on its way on it is lost.
    pub(super) fn close(&mut self, id: WireId) {
        if self.get(id).is_some() {
            let place = place_of(id);
            self.places[place].1 = None;
            self.free.push(place as u32);
        }
    }

    pub(super) fn get(&self, id: WireId) -> Option<&Wire> {
        let (generation, wire) = self.places.get(place_of(id))?;
        wire.as_deref().filter(|_| u64::from(*generation) == id.0 >> 31)
    }

    pub(super) fn get_mut(&mut self, id: WireId) -> Option<&mut Wire> {
        let (generation, wire) = self.places.get_mut(place_of(id))?;
        wire.as_deref_mut().filter(|_| u64::from(*generation) == id.0 >> 31)
    }

    /// All, in an order that does not change.
    pub(super) fn ids(&self) -> Vec<WireId> {
        let places = self.places.iter().zip(0_u64..).filter(|((_, wire), _)| wire.is_some());
        places.map(|((generation, _), place)| WireId((u64::from(*generation) << 31) | place)).collect()
    }
}

fn place_of(id: WireId) -> usize {
    (id.0 & ((1 << 31) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_used_again() {
        let mut wires = Wires::default();
        let first = wires.open([0, 1]);
        wires.close(first);
        let second = wires.open([0, 2]);
        assert_ne!(first, second);
        assert!(wires.get(first).is_none() && wires.get(second).is_some());
        assert_eq!(end_of(link_of(second, 1)), (second, 1));
        assert_eq!(wires.ids(), [second]);
    }

    #[test]
    fn a_channel_stays_in_order_and_others_overtake() {
        let mut wire = Wire::default();
        assert_eq!(wire.in_turn(0, 0, 100, 0), 100);
        assert_eq!(wire.in_turn(0, 0, 50, 0), 100, "not before what was sent earlier");
        assert_eq!(wire.in_turn(0, 3, 50, 0), 50);
        assert_eq!(wire.in_turn(1, 0, 50, 0), 50, "nor does the other way wait");
        wire.in_turn(0, 5, 300, 200);
        assert_eq!(wire.last_us[0].as_slice(), [(5, 300)], "what has arrived is forgotten");
    }
}
