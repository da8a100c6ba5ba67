//! Processor time of processes on this machine, read as `quorate bench` reads it.

use anyhow::{Context, Result, bail};
use std::fs;
use std::time::Duration;

/// Time that the threads of a process have used since it began, those that ended left out: to the
/// nanosecond, from `schedstat`.
///
/// # Errors
/// If there is no such process, or the kernel does not tell.
pub fn used_by(pid: u32) -> Result<Duration> {
    let mut nanos: u64 = 0;
    let threads = format!("/proc/{pid}/task");
    for thread in fs::read_dir(&threads).with_context(|| format!("cannot read {threads}"))? {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let ran = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        nanos = nanos.saturating_add(ran.context("schedstat does not begin with a number")?);
    }
    if nanos == 0 {
        bail!("{threads}: no processor time; this kernel is built without schedstat");
    }
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_one_that_is_not_there_is_an_error() {
        let before = used_by(std::process::id()).unwrap();
        assert!(before > Duration::ZERO && used_by(std::process::id()).unwrap() >= before);
        assert!(used_by(u32::MAX).unwrap_err().to_string().contains("cannot read"));
    }
}
