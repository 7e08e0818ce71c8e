//! `berth-publish`, the vendor's command.

fn main() -> std::process::ExitCode {
    berth_publish::cli::main()
}
