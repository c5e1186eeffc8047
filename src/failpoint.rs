//! Failpoints: named steps of the work at which a test has this process die, as `kill -9` would
//! have it.
//!
//! `HYBRIDCTL_FAIL_AT=name:n` kills the process when it reaches that step for the n-th time;
//! `HYBRIDCTL_FAIL_RECORD=file` writes the name of each step that is reached into a file. Builds
//! without debug assertions, so all releases, have neither the names nor the variables.
//!
//! To add a step: one line `failpoint::hit("module.step")` where it is reached. The crash tests
//! find it in the source, kill the process there, and fail if no scenario gets there.

#[cfg(debug_assertions)]
pub use self::armed::hit;

/// Says that a step is reached.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: LazyLock<Plan> = LazyLock::new(Plan::of_process);

    /// What is to happen at which step.
    struct Plan {
        fatal: Option<Fatal>,
        record: Option<File>,
    }

    struct Fatal {
        name: String,
        /// How often the step is reached until it is the last one.
        left: AtomicU64,
    }

    /// Says that a step is reached.
    pub fn hit(name: &'static str) {
        if let Some(mut record) = PLAN.record.as_ref() {
            // In one call, so that lines of several threads do not mix.
            let _ = record.write_all(format!("{name}\n").as_bytes());
        }
        if let Some(fatal) = &PLAN.fatal
            && fatal.name == name
            && fatal.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            die();
        }
    }

    impl Plan {
        fn of_process() -> Self {
            let fatal = std::env::var("HYBRIDCTL_FAIL_AT").ok().and_then(|text| {
                let (name, number) = text.rsplit_once(':')?;
                let left = AtomicU64::new(number.parse().ok()?);
                Some(Fatal { name: name.to_owned(), left })
            });
            let record = std::env::var_os("HYBRIDCTL_FAIL_RECORD");
            let open = |path| OpenOptions::new().append(true).create(true).open(path).ok();
            Self { fatal, record: record.and_then(open) }
        }
    }

    /// Ends the process without a chance to do anything more, core dumps included.
    fn die() -> ! {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
        // Not reached where there are signals.
        std::process::abort()
    }
}
