//! What fails again and again, told of once when it begins and once when it is over.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Returns whether a disk takes no writes at all now, whoever writes: it is full, read-only or
/// broken. Who only leaves something behind for later goes on without.
pub fn is_of_disk(error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => true,
        ErrorKind::ReadOnlyFilesystem => true,
        _ => error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
    }
}

/// Whether something is failing.
#[derive(Debug, Default)]
pub struct Trouble {
    quiet: Duration,
    last: Option<Instant>,
}

impl Trouble {
    /// Returns one that is over with the first success.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns one that is over with the first success this long after the last failure: for what
    /// succeeds now and then while there is too little of something.
    pub fn lasting(quiet: Duration) -> Self {
        Self { quiet, last: None }
    }

    /// Notes a failure; returns whether it is to be told of.
    pub fn begins(&mut self) -> bool {
        self.begins_at(Instant::now())
    }

    fn begins_at(&mut self, now: Instant) -> bool {
        self.last.replace(now).is_none()
    }

    /// Notes a success; returns whether it is to be told of.
    pub fn ends(&mut self) -> bool {
        // The clock is asked only while there is trouble.
        self.last.is_some() && self.ends_at(Instant::now())
    }

    fn ends_at(&mut self, now: Instant) -> bool {
        let over = self.last.is_some_and(|last| now.duration_since(last) >= self.quiet);
        if over {
            self.last = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_of_once_and_its_end_once() {
        let mut trouble = Trouble::new();
        assert!(!trouble.ends());
        assert!(trouble.begins());
        assert!(!trouble.begins());
        assert!(trouble.ends());
        assert!(!trouble.ends());
        assert!(trouble.begins());
    }

    #[test]
    fn a_success_among_failures_does_not_end_it() {
        let mut trouble = Trouble::lasting(Duration::from_secs(5));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(trouble.begins_at(at(0)));
        assert!(!trouble.ends_at(at(4)));
        assert!(!trouble.begins_at(at(4)));
        assert!(!trouble.ends_at(at(8)));
        assert!(trouble.ends_at(at(9)));
        assert!(trouble.begins_at(at(10)));
    }
}
