//! Who belongs to the cluster, as data under `sys`. Not responsible for links: `node` is.

pub(crate) mod http_view;
mod members;
mod record;
pub(crate) mod suspicion;

pub(crate) use members::{Changed, Members};
pub use record::{Member, MemberState, Record};
pub(crate) use record::{key_of, write_down};
