//! The process's clocks as pure code sees them.

use crate::types::{Instant, Now, Wall};
use std::time::{Duration, SystemTime};

/// Less than this between the two clocks is the time that reading them takes.
const NOTHING: Duration = Duration::from_millis(50);

/// Reads the clocks. Instants count from when this was made, and go on while the machine is
/// suspended, where the system has such a clock: a lease ends then, too (CH-L1). A machine whose
/// host stops it shows nothing of that to anybody in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What timers count with, which stands still meanwhile.
    start: tokio::time::Instant,
    /// The time since the machine's start.
    uptime: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: tokio::time::Instant::now(), uptime: uptime() }
    }

    pub(super) fn now(&self) -> Now {
        let elapsed = uptime().saturating_sub(self.uptime);
        let monotonic = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Now { monotonic: Instant(monotonic), wall: Wall(wall) }
    }

    /// When an instant is for a timer, by the time that it is now; far ones are cut to a day.
    pub(super) fn deadline(&self, now: Instant, at: Option<Instant>) -> tokio::time::Instant {
        let suspended = suspended(Duration::from_nanos(now.0), self.start.elapsed());
        self.start + until(at, now, suspended)
    }
}

/// How long the machine was suspended, by how far two clocks have run.
fn suspended(all: Duration, awake: Duration) -> Duration {
    let suspended = all.saturating_sub(awake);
    if suspended < NOTHING { Duration::ZERO } else { suspended }
}

/// When an instant is on the clock that stood still for so long.
fn until(at: Option<Instant>, now: Instant, suspended: Duration) -> Duration {
    const DAY: u64 = 86_400_000_000_000;
    let nanos = at.map_or(u64::MAX, |at| at.0);
    let latest = now.0.saturating_add(DAY);
    Duration::from_nanos(nanos.min(latest)).saturating_sub(suspended)
}

#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn uptime() -> Duration {
    use std::sync::OnceLock;
    static FIRST: OnceLock<std::time::Instant> = OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// D16: instants have gone on while the machine was suspended, and timers have not.
    #[test]
    fn a_timer_fires_when_its_instant_has_come_though_the_machine_was_suspended() {
        let ms = Duration::from_millis;
        assert_eq!(suspended(ms(1000), ms(999)), Duration::ZERO, "that is reading them");
        let slept = suspended(ms(61_000), ms(1000));
        assert_eq!(slept, ms(60_000));
        let at = |n: u64| until(Some(Instant(n * MS)), Instant(61_000 * MS), slept);
        assert_eq!(at(61_500), ms(1500), "half a second from now");
        assert_eq!(at(2000), Duration::ZERO, "it is over");
        assert_eq!(until(None, Instant(0), Duration::ZERO), Duration::from_secs(86_400));
    }

    #[test]
    fn instants_run_as_the_clock_of_timers_does_while_nothing_is_suspended() {
        let clock = Clock::start();
        let before = clock.now().monotonic;
        std::thread::sleep(Duration::from_millis(20));
        let after = clock.now().monotonic;
        assert!(after.since(before) >= Duration::from_millis(20));
        let at = clock.deadline(after, Some(after));
        assert!(at <= tokio::time::Instant::now() + Duration::from_millis(1));
    }
}
