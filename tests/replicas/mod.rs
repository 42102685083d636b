//! What the tests of the map share: replicas that sync, and runs drawn from a seed.
//!
//! Not responsible for judging: `oracle` is. A sync here is made of the map's own pieces of one, in the order in which
//! the protocol has them, and all that a test may do with it goes through [`Pull`].

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod dice;
mod look;
mod replica;

pub(crate) use dice::{Dice, for_each_seed};
pub(crate) use look::{id, key, look, name};
pub(crate) use replica::{End, Pull, Replica, START, Step, pull, pull_cut_after, pull_in_order, push};
