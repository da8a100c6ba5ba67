//! The process's clocks as pure code sees them.

use crate::types::{Instant, Now, Wall};
use std::time::SystemTime;

/// Reads both clocks. Instants count from when this was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let monotonic = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Now { monotonic: Instant(monotonic), wall: Wall(wall) }
    }

    /// When an instant is for a timer; far ones are cut to a day.
    pub(super) fn deadline(&self, at: Option<Instant>) -> tokio::time::Instant {
        const DAY: u64 = 86_400_000_000_000;
        let nanos = at.map_or(u64::MAX, |at| at.0);
        let latest = self.now().monotonic.0.saturating_add(DAY);
        self.start + std::time::Duration::from_nanos(nanos.min(latest))
    }
}
