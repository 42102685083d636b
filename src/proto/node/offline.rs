//! A node that works alone because somebody said so: no links, nothing dialled, nobody let in. Not responsible for a
//! restart, which ends it: it is kept nowhere.

use super::Node;
use crate::proto::link::{CONTROL, LinkId};
use crate::proto::message::Message;
use crate::proto::time::Now;

/// Why its links are closed.
pub(super) const OFFLINE: &str = "the node was disconnected by hand";

impl Node {
    /// Closes all links and has no others until [`reconnect`](Self::reconnect). Whether that is news.
    /// Linear in the links.
    pub fn disconnect(&mut self, now: Now) -> bool {
        self.set_now(now);
        let news = !std::mem::replace(&mut self.offline, true);
        let links: Vec<LinkId> = self.links.iter().filter(|(_, state)| !state.closing).map(|(link, _)| *link).collect();
        for link in links {
            self.send(link, CONTROL, &Message::Goodbye { left: false }, None);
            self.close_link(link, OFFLINE.to_owned());
            self.drop_syncs(link);
        }
        self.settle();
        news
    }

    /// Takes up its links at once, if it was disconnected. Whether it was. Linear in the addresses known.
    pub fn reconnect(&mut self, now: Now) -> bool {
        self.set_now(now);
        let news = std::mem::take(&mut self.offline);
        if news {
            self.dials.all_due(now.instant, &self.config);
        }
        self.on_time();
        self.settle();
        news
    }

    /// Whether it was disconnected by hand. Costs nothing.
    pub fn is_offline(&self) -> bool {
        self.offline
    }
}
