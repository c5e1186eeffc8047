//! CPU time of a running process, by thread, from the scheduler's own count in `/proc`.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;

/// How long each thread of a process and of its children has run so far.
pub(crate) struct Usage(HashMap<u32, Thread>);

struct Thread {
    name: String,
    ran_ns: u64,
}

impl Usage {
    /// Reads the usage of the process and of its direct children (nginx's workers).
    pub(crate) fn read(pid: u32) -> anyhow::Result<Self> {
        let mut threads = HashMap::new();
        for process in children(pid).into_iter().chain([pid]) {
            read_threads(process, &mut threads)
                .with_context(|| format!("cannot read the CPU time of process {process}"))?;
        }
        Ok(Self(threads))
    }

    /// Returns the nanoseconds run since `earlier`, over the threads whose name starts with
    /// `prefix`. What a thread ran that has ended meanwhile is lost.
    pub(crate) fn since_ns(&self, earlier: &Self, prefix: &str) -> u64 {
        let threads = self.0.iter().filter(|(_, thread)| thread.name.starts_with(prefix));
        threads
            .map(|(id, thread)| {
                let before = earlier.0.get(id).map_or(0, |before| before.ran_ns);
                thread.ran_ns.saturating_sub(before)
            })
            .sum()
    }
}

fn read_threads(pid: u32, threads: &mut HashMap<u32, Thread>) -> anyhow::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        // A thread may end between the listing and the reading; then it no longer counts.
        let (Ok(name), Ok(schedstat)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|id| id.parse().ok());
        let ran_ns = schedstat.split_whitespace().next().and_then(|field| field.parse().ok());
        let (Some(id), Some(ran_ns)) = (id, ran_ns) else {
            anyhow::bail!("{} is not in the expected form", path.display());
        };
        threads.insert(id, Thread { name: name.trim().to_owned(), ran_ns });
    }
    Ok(())
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let listed = fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_this_process_runs_is_seen() {
        let pid = std::process::id();
        let before = Usage::read(pid).unwrap();
        let mut value = 0_u64;
        while Usage::read(pid).unwrap().since_ns(&before, "") < 1_000_000 {
            value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(7));
        }
        let after = Usage::read(pid).unwrap();
        assert_eq!(after.since_ns(&before, "no thread has this name"), 0);
    }
}
