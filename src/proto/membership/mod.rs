//! Who belongs to the cluster, as data under `sys`, and a sample of them. Not responsible for links: `node` is.

pub(crate) mod active;
pub(crate) mod http_view;
mod members;
mod record;
pub(crate) mod suspicion;
mod view;

pub use active::ActiveLinks;
pub(crate) use members::{Changed, Members};
pub use record::{Member, MemberState, Record};
pub(crate) use record::{key_of, write_down};
pub use view::{Contact, Descriptor, Keep, Peer, Propagate, Select, View, ViewConfig, ViewConfigError};
