//! Layer 2: the protocol as machines without IO. Not responsible for sockets, clocks or randomness: time is an argument,
//! and random numbers come from a seeded generator that is passed in.

pub mod assembly;
pub mod broadcast;
pub mod codec;
pub mod config;
mod dial;
pub mod durable;
pub mod feed;
mod key_id;
pub mod ledger;
pub mod link;
pub mod membership;
pub mod message;
pub mod meters;
pub mod node;
mod pace;
pub mod reconcile;
pub mod sync;
pub mod time;
mod wire;

pub use key_id::{KeyId, ParseKeyIdError};
pub use wire::DecodeError;
