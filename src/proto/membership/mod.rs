//! Who belongs to the cluster, as data under `sys`. Not responsible for links: `node` is.

pub(crate) mod http_view;
mod record;
mod view;

pub use record::{Member, MemberState, Record};
pub(crate) use record::{PREFIX, key_of, members, write_down};
pub use view::{Contact, Descriptor, Keep, Peer, Propagate, Select, View, ViewConfig, ViewConfigError};
