//! The `tidings` binary. Not responsible for anything: the commands are in the library, where tests reach them.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tidings::cli::main()
}
