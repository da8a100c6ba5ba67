//! The open loop's times: when which request is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The pacer wakes at most so often; requests due in between go together, up to this late.
const GRAIN: Duration = Duration::from_micros(100);
/// The pacer sees that it should end at least so often.
const NAP: Duration = Duration::from_millis(50);

/// Evenly spaced times from zero on, at a whole number of requests a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: u64,
}

impl Schedule {
    /// `rate` is at least 1.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) }
    }

    /// When the request `index`, counted from 0, is due.
    pub(super) fn time_of(self, index: u64) -> Duration {
        let nanos = u128::from(index) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many requests are due before `end`.
    pub(super) fn due_before(self, end: Duration) -> u64 {
        // Rounding times down to nanoseconds moves none below a whole number of them.
        let product = end.as_nanos() * u128::from(self.rate);
        u64::try_from(product.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

/// A thread that gives out one permit for each request when it is due. The timers of the runtime
/// have a grain of a millisecond, which is as long as what is measured.
pub(super) struct Pacer {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Begins: the schedule's zero is `start`.
    pub(super) fn start(schedule: Schedule, start: Instant, permits: Arc<Semaphore>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut given = 0;
            while !stopped.load(Ordering::Relaxed) {
                let elapsed = start.elapsed();
                let due = schedule.due_before(elapsed).saturating_sub(given);
                let room = Semaphore::MAX_PERMITS - permits.available_permits();
                let fits = due.min(room as u64);
                permits.add_permits(fits as usize);
                given += fits;
                let next = schedule.time_of(given).saturating_sub(start.elapsed());
                std::thread::sleep(next.clamp(GRAIN, NAP));
            }
        });
        Self { thread: Some(thread), stop }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the pacer was printed when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_even_and_do_not_drift() {
        let s = Schedule::new(1000);
        assert_eq!(s.time_of(0), Duration::ZERO);
        assert_eq!(s.time_of(1), Duration::from_millis(1));
        // A rate whose interval is no whole number of nanoseconds is exact at every second.
        let s = Schedule::new(3);
        assert_eq!(s.time_of(1), Duration::from_nanos(333_333_333));
        assert_eq!(s.time_of(3_000_000), Duration::from_secs(1_000_000));
        assert_eq!(s.time_of(u64::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn what_is_due_is_what_has_a_time_before() {
        for rate in [1, 3, 7, 1000, 99_991] {
            let s = Schedule::new(rate);
            assert_eq!(s.due_before(Duration::ZERO), 0);
            assert_eq!(s.due_before(Duration::from_secs(1)), rate);
            for nanos in (1..2_000_000_000).step_by(7_654_321) {
                let end = Duration::from_nanos(nanos);
                let due = s.due_before(end);
                assert!(s.time_of(due - 1) < end, "{rate} {nanos} {due}");
                assert!(s.time_of(due) >= end, "{rate} {nanos} {due}");
            }
        }
    }

    #[test]
    fn the_pacer_gives_no_permit_too_early_and_all_in_time() {
        let permits = Arc::new(Semaphore::new(0));
        let (start, schedule) = (Instant::now(), Schedule::new(2000));
        let pacer = Pacer::start(schedule, start, permits.clone());
        while permits.available_permits() < 20 {
            let given = permits.available_permits() as u64;
            assert!(given <= schedule.due_before(start.elapsed()));
            std::thread::yield_now();
        }
        drop(pacer);
    }
}
