//! Who belongs to the cluster, as data under `sys`. Not responsible for links: `node` is.

mod record;

pub use record::{Member, MemberState, Record};
pub(crate) use record::{PREFIX, key_of, members, write_down};
