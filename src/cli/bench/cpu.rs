//! Processor time of processes on this machine, as Linux tells it under `/proc`.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

/// `/proc/PID/stat` counts in ticks of which a second has so many on every Linux that Rust runs on.
const TICKS_A_SECOND: u64 = 100;

/// Where a time comes from, which says how fine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `schedstat` of all threads: nanoseconds.
    Schedstat,
    /// `stat`: ticks of 10 ms.
    Stat,
}

impl Source {
    /// For people.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Source::Schedstat => "schedstat, in nanoseconds",
            Source::Stat => "stat, in ticks of 10 ms",
        }
    }
}

/// Time that a process has used since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) used: Duration,
    pub(super) source: Source,
}

impl Cpu {
    /// Of a process, if the system tells.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let fine = of_threads(pid).map(|used| Self { used, source: Source::Schedstat });
        fine.or_else(|| {
            let used = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?.used;
            Some(Self { used, source: Source::Stat })
        })
    }

    /// What was used since `before`, if both are from the same source.
    pub(super) fn since(self, before: Self) -> Option<Duration> {
        (self.source == before.source).then(|| self.used.saturating_sub(before.used))
    }
}

/// Whether an address is one of this machine's.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || TcpListener::bind((ip, 0)).is_ok()
}

/// Whether a process runs for at least so long: a number that stands for another process, as it
/// does when a replica runs in a container, is mostly found out by this.
pub(super) fn runs_for(pid: u32, at_least: Duration) -> bool {
    let age = || {
        let up = fs::read_to_string("/proc/uptime").ok()?;
        let up = Duration::try_from_secs_f64(up.split(' ').next()?.parse().ok()?).ok()?;
        let began = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?.began;
        Some(up.saturating_sub(began))
    };
    // The daemon's clock and that of the system are read at different times.
    age().is_some_and(|age| age + Duration::from_secs(1) >= at_least)
}

// The first field of a thread's schedstat is the time it ran. Zero for a process that has run
// means a kernel built without it.
fn of_threads(pid: u32) -> Option<Duration> {
    let mut nanos: u64 = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanos = nanos.saturating_add(text.split(' ').next()?.parse().ok()?);
    }
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[derive(Debug, PartialEq)]
struct Ticks {
    used: Duration,
    began: Duration,
}

// Fields are counted from 1 in the manual; the second, the name in brackets, may hold anything.
fn ticks(stat: &str) -> Option<Ticks> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
    let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000 / TICKS_A_SECOND));
    Some(Ticks { used: time(field(14)?.saturating_add(field(15)?)), began: time(field(22)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat_are_found_behind_any_name() {
        let stat = "77 (a) R (b) S 1 2 3 0 -1 4 5 6 7 8 250 31 0 0 20 0 1 0 4242 2998272 362 18446";
        let used = Duration::from_millis(2810);
        assert_eq!(ticks(stat), Some(Ticks { used, began: Duration::from_millis(42_420) }));
        assert_eq!(ticks("77 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_has_used_time_and_runs() {
        let pid = std::process::id();
        let before = Cpu::of(pid).unwrap();
        assert!(before.used > Duration::ZERO);
        assert!(Cpu::of(pid).unwrap().since(before).is_some());
        assert!(runs_for(pid, Duration::ZERO) && !runs_for(pid, Duration::from_secs(1 << 40)));
        assert_eq!(Cpu::of(u32::MAX), None);
    }

    #[test]
    fn times_of_different_sources_are_not_compared() {
        let fine = Cpu { used: Duration::from_secs(1), source: Source::Schedstat };
        let coarse = Cpu { used: Duration::from_secs(2), source: Source::Stat };
        assert_eq!(coarse.since(fine), None);
        let later = Cpu { used: Duration::from_millis(1500), ..fine };
        assert_eq!(later.since(fine), Some(Duration::from_millis(500)));
    }

    #[test]
    fn only_own_addresses_are_local() {
        assert!(is_local("127.0.0.1".parse().unwrap()) && is_local("::1".parse().unwrap()));
        // Set aside for documentation: nobody has it.
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }
}
