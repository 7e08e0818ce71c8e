//! `berth`, the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(berth_daemon::cli::main(std::env::args_os()))
}
