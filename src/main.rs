//! The binary: hands the command line to [`hybridctl::cli`] and returns its exit code.

fn main() -> std::process::ExitCode {
    hybridctl::cli::main()
}
