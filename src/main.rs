//! The binary: hands the command line to [`hybridctl::cli`] and returns its exit code.

/// A proxied request allocates about fifteen times, some of it too large for the quick lists of the
/// system's allocator: this one spends a quarter of the instructions on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hybridctl::cli::main()
}
