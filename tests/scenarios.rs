//! Named stories of a few replicas: mistakes that stores of this kind have made, and what people try first.
//!
//! Each says what went wrong elsewhere. `X→Y` means that Y merges all that X has. Not responsible for chance: `runs.rs`
//! and `laws.rs` are.

mod oracle;
mod replicas;

#[path = "scenarios/clocks.rs"]
mod clocks;
#[path = "scenarios/merging.rs"]
mod merging;
#[path = "scenarios/syncs.rs"]
mod syncs;
