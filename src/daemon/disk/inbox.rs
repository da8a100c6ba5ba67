//! The jobs of a thread that writes, and how it waits for a full disk.

use super::DaemonError;
use super::rounds::Rounds;
use crate::storage::Disk;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Writes that wait are written and synced together, up to about so many bytes.
pub(in crate::daemon) const GROUP_BYTES: usize = 16 << 20;
/// After so long without a job, the log is told how far it is durable.
pub(in crate::daemon) const IDLE: Duration = Duration::from_millis(50);
/// After so long a full disk is tried again.
pub(in crate::daemon) const AGAIN: Duration = Duration::from_millis(500);

/// Why it ends.
pub(in crate::daemon) enum End {
    /// Nobody asks for anything any more.
    Closed,
    Failed(DaemonError),
}

impl From<DaemonError> for End {
    fn from(why: DaemonError) -> Self {
        End::Failed(why)
    }
}

/// Jobs, and those of them that came while a full disk was waited for.
pub(in crate::daemon) struct Inbox<J> {
    jobs: Receiver<J>,
    waiting: VecDeque<J>,
}

impl<J> Inbox<J> {
    pub(in crate::daemon) fn new(jobs: Receiver<J>) -> Self {
        Self { jobs, waiting: VecDeque::new() }
    }

    pub(in crate::daemon) fn next(&mut self) -> Result<J, End> {
        let job = self.waiting.pop_front();
        job.map_or_else(|| self.jobs.recv().map_err(|_| End::Closed), Ok)
    }

    // Nothing if there is none for so long.
    pub(in crate::daemon) fn next_within(&mut self, time: Duration) -> Result<Option<J>, End> {
        if let Some(job) = self.waiting.pop_front() {
            return Ok(Some(job));
        }
        match self.jobs.recv_timeout(time) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(End::Closed),
        }
    }

    pub(in crate::daemon) fn try_next(&mut self) -> Option<J> {
        self.waiting.pop_front().or_else(|| self.jobs.try_recv().ok())
    }

    // Waits so long, but not for somebody who has gone.
    fn pass(&mut self, time: Duration) -> Result<(), End> {
        let end = Instant::now() + time;
        loop {
            match self.jobs.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(job) => self.waiting.push_back(job),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(End::Closed),
            }
        }
    }
}

/// Says once that the disk is full, and that it is no longer.
pub(in crate::daemon) struct Patience {
    said: bool,
}

impl Patience {
    pub(in crate::daemon) fn new() -> Self {
        Self { said: false }
    }

    pub(in crate::daemon) fn wait<D: Disk, J>(
        &mut self,
        rounds: &Rounds<D>,
        inbox: &mut Inbox<J>,
    ) -> Result<(), End> {
        if !self.said {
            warn!(
                path = %rounds.path().display(),
                "the disk is full: the replica waits, and answers nobody until space is free; \
                 free some, or give it a larger disk"
            );
            self.said = true;
        }
        inbox.pass(AGAIN).inspect_err(|_| {
            warn!("it ends while the disk is full: what waits was never said to be durable");
        })
    }

    pub(in crate::daemon) fn end<D: Disk>(&self, rounds: &Rounds<D>) {
        if self.said {
            info!(path = %rounds.path().display(), "there is space on the disk: it goes on");
        }
    }
}
