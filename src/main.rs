//! The `tidings` binary.

#![forbid(unsafe_code)]

fn main() {}
