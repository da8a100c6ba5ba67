//! One link a replica: up, down, dialled again.

use super::dial::{Failure, Target, dial};
use super::{Explanation, LinkReport, Verdict};
use crate::config::{Cluster, ReplicaEntry};
use crate::transport::{CloseCause, Endpoint, Lane, Link, LinkEvent};
use crate::types::ReplicaId;
use crate::wire::{Frame, Hello};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

/// The pause before the first attempt after a link that lasted; each next is twice as long ...
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// ... up to this. A link that lasts so long begins the count anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Batches of frames that links hand up before their readers wait.
const EVENTS: usize = 256;

/// Names one link among all there were: of which replica, and the how many-th to it.
pub(super) type LinkKey = (ReplicaId, u64);

/// What became of an attempt.
pub(super) type Attempt = (ReplicaId, Result<(Link, Hello), Failure>);

/// All links of a client.
pub(super) struct Links {
    endpoint: Arc<Endpoint>,
    slots: Vec<Slot>,
    dials: JoinSet<Attempt>,
    events: mpsc::Sender<(LinkKey, LinkEvent)>,
    reports: watch::Sender<Vec<LinkReport>>,
}

struct Slot {
    target: Arc<Target>,
    link: Option<Link>,
    // Of the latest link: what older ones still hand up is not for us.
    generation: u64,
    up_since: Instant,
    failures: u32,
}

/// What a link event means.
pub(super) enum Meaning {
    /// Frames of a replica.
    Frames(ReplicaId, Vec<Frame>),
    /// The link to a replica is gone.
    Down(ReplicaId),
    /// Nothing: it is of an older link.
    Nothing,
}

impl Links {
    /// Begins to dial these replicas of a cluster, the first ones of its roster. What links hand up
    /// comes by the receiver.
    pub fn new(
        (cluster, replicas): (&Cluster, &[ReplicaEntry]),
        endpoint: Endpoint,
    ) -> (Self, mpsc::Receiver<(LinkKey, LinkEvent)>, watch::Receiver<Vec<LinkReport>>) {
        let id = cluster.id();
        let slot = |replica: &ReplicaEntry| Slot {
            target: Arc::new(Target { cluster: id, replica: replica.clone() }),
            link: None,
            generation: 0,
            up_since: Instant::now(),
            failures: 0,
        };
        let report = |r: &ReplicaEntry| LinkReport::new(r.id, r.address.clone());
        let (events, receiver) = mpsc::channel(EVENTS);
        let (reports, watching) = watch::channel(replicas.iter().map(report).collect());
        let mut links = Self {
            endpoint: Arc::new(endpoint),
            slots: replicas.iter().map(slot).collect(),
            dials: JoinSet::new(),
            events,
            reports,
        };
        (0..links.slots.len()).for_each(|i| links.dial(i, Duration::ZERO));
        (links, receiver, watching)
    }

    /// The next attempt that is over; waits for ever while none is under way.
    pub async fn attempted(&mut self) -> Result<Attempt, JoinError> {
        match self.dials.join_next().await {
            Some(attempt) => attempt,
            None => std::future::pending().await,
        }
    }

    /// As [`Links::attempted`], without waiting.
    pub fn try_attempted(&mut self) -> Option<Result<Attempt, JoinError>> {
        self.dials.try_join_next()
    }

    /// Takes what an attempt gave; the hello if there is a link now.
    pub fn take(&mut self, attempt: Result<Attempt, JoinError>) -> Option<(ReplicaId, Hello)> {
        // An attempt neither panics nor is it ended while the driver runs.
        let (replica, result) = attempt.ok()?;
        let slot = &mut self.slots[replica.index()];
        match result {
            Ok((mut link, hello)) => {
                slot.generation += 1;
                slot.up_since = Instant::now();
                link.start(self.events.clone(), (replica, slot.generation));
                slot.link = Some(link);
                tracing::debug!(%replica, incarnation = hello.incarnation, "link up");
                self.report(replica, |r| {
                    (r.up, r.since, r.hopeless) = (true, Instant::now(), false);
                    (r.incarnation, r.restarted) = (hello.incarnation, hello.restarted);
                });
                Some((replica, hello))
            }
            Err(failure) => {
                tracing::debug!(%replica, error = failure.text, "no link");
                self.report(replica, |r| {
                    (r.error, r.hopeless) = (Some(failure.text.into()), failure.hopeless);
                });
                self.dial_again(replica);
                None
            }
        }
    }

    /// Says what an event is, and dials again if it is the end of a link.
    pub fn event(&mut self, (replica, generation): LinkKey, event: LinkEvent) -> Meaning {
        let slot = &self.slots[replica.index()];
        if slot.generation != generation || slot.link.is_none() {
            return Meaning::Nothing;
        }
        match event {
            LinkEvent::Frames { frames, .. } => Meaning::Frames(replica, frames),
            LinkEvent::Closed { cause, reason } => {
                let address = &slot.target.replica.address;
                self.down(
                    replica,
                    match cause {
                        CloseCause::Here => format!("closed the link to {address}: {reason}"),
                        CloseCause::Peer => format!("{address} closed the link: {reason}"),
                        CloseCause::Lost => format!("the link to {address} was lost: {reason}"),
                    },
                );
                Meaning::Down(replica)
            }
        }
    }

    /// Sends frames and flushes: the core sends once a batch.
    pub fn send(&self, replica: ReplicaId, frames: &[u8]) {
        if let Some(link) = &self.slots[replica.index()].link {
            link.send(Lane::Protocol, frames);
            link.flush();
        }
    }

    /// Closes the link of a replica that broke the rules, and dials it again.
    pub fn close(&mut self, replica: ReplicaId, why: &str) {
        if let Some(link) = &self.slots[replica.index()].link {
            link.fault(why);
            let address = &self.slots[replica.index()].target.replica.address;
            self.down(replica, format!("closed the link to {address} for what it sent: {why}"));
        }
    }

    /// Writes beside those who said nothing why there is no link to them.
    pub fn annotate(&self, explanation: &mut Explanation) {
        if self.slots.iter().all(|slot| slot.link.is_some()) {
            return;
        }
        let reports = self.reports.borrow();
        for ballot in &mut explanation.ballots {
            let report = reports.get(ballot.replica.index()).filter(|r| !r.up);
            if matches!(ballot.verdict, Verdict::Silent { .. }) {
                ballot.link_error = report.and_then(|r| r.error.clone());
            }
        }
    }

    /// Ends all links after delivering what was sent.
    pub async fn end(mut self, reason: &str) {
        self.dials.shutdown().await;
        self.endpoint.close(reason).await;
    }

    fn down(&mut self, replica: ReplicaId, why: String) {
        tracing::debug!(%replica, why, "link down");
        self.slots[replica.index()].link = None;
        self.report(replica, |r| {
            (r.up, r.since, r.error) = (false, Instant::now(), Some(why.into()))
        });
        if self.slots[replica.index()].up_since.elapsed() >= LONGEST_PAUSE {
            self.slots[replica.index()].failures = 0;
        }
        self.dial_again(replica);
    }

    fn dial_again(&mut self, replica: ReplicaId) {
        let slot = &mut self.slots[replica.index()];
        let pause = pause(slot.failures, jitter());
        slot.failures = slot.failures.saturating_add(1);
        self.dial(replica.index(), pause);
    }

    fn dial(&mut self, index: usize, pause: Duration) {
        let (endpoint, target) = (self.endpoint.clone(), self.slots[index].target.clone());
        self.dials.spawn(async move {
            tokio::time::sleep(pause).await;
            (target.replica.id, dial(&endpoint, &target).await)
        });
    }

    fn report(&self, replica: ReplicaId, change: impl FnOnce(&mut LinkReport)) {
        self.reports.send_modify(|reports| change(&mut reports[replica.index()]));
    }
}

// Between a half and the whole of a pause that grows with the failures before.
fn pause(failures: u32, jitter: u8) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    whole / 2 + whole / 2 * u32::from(jitter) / u32::from(u8::MAX)
}

// Clients that lost one replica together should not come back together.
fn jitter() -> u8 {
    let mut byte = [0];
    // Without random numbers there is no jitter, which is no reason to fail.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_vary_by_half() {
        let ms = Duration::from_millis;
        assert_eq!((pause(0, 0), pause(0, 255)), (ms(10), ms(20)));
        assert_eq!((pause(3, 0), pause(3, 255)), (ms(80), ms(160)));
        for failures in [6, 20, u32::MAX] {
            assert_eq!((pause(failures, 0), pause(failures, 255)), (ms(500), ms(1000)));
        }
    }
}
