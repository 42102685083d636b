//! Nodes of the real binary on real disks: killed, with a full disk, a read-only one, a damaged one. Not responsible for
//! a power cut, which no test of processes can make.
#![cfg(all(feature = "cli", unix))]

mod common;
#[path = "replicas/dice.rs"]
mod dice;

mod storage {
    mod damage;
    mod full;
    mod kills;
    mod mount;
    mod opening;
    mod place;
    mod read_only;
    mod room;
    mod writers;
}
