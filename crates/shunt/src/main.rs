//! The `shunt` binary.

fn main() -> std::process::ExitCode {
    shunt::cli::run()
}
