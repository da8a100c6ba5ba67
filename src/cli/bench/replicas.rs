//! What replicas say of themselves, and use, before and after.

use super::cpu::{self, Cpu};
use crate::cli::ask;
use crate::config::{Cluster, FaultModel};
use crate::replica::Status;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where to ask each replica and, for those that run on this machine, the number of its process.
pub(super) struct Watch {
    cluster: String,
    /// Whether replicas vote.
    pub(super) fault_model: FaultModel,
    replicas: Vec<(SocketAddr, Option<u32>)>,
}

/// A replica's condition, and when it said so.
pub(super) type Reading = Option<(Instant, Status)>;

impl Watch {
    /// Finds out which replicas answer on their admin address and run here.
    pub(super) async fn new(cluster: &Cluster) -> Self {
        let replicas = cluster.replicas.iter().map(|r| (r.admin, None)).collect();
        let (id, fault_model) = (cluster.id().to_hex(), cluster.fault_model);
        let mut watch = Self { cluster: id, fault_model, replicas };
        let readings = watch.statuses().await;
        for ((address, pid), reading) in watch.replicas.iter_mut().zip(readings) {
            let Some((_, status)) = reading else { continue };
            let here = cpu::is_local(address.ip())
                && cpu::runs_for(status.pid, Duration::from_millis(status.uptime_ms));
            *pid = here.then_some(status.pid);
        }
        watch
    }

    /// Processor time that each has used so far.
    pub(super) fn cpu(&self) -> Vec<Option<Cpu>> {
        self.replicas.iter().map(|(_, pid)| Cpu::of((*pid)?)).collect()
    }

    /// Asks all at once.
    pub(super) async fn statuses(&self) -> Vec<Reading> {
        let mut asked = Vec::new();
        for (address, _) in &self.replicas {
            let (address, cluster) = (*address, self.cluster.clone());
            asked.push(tokio::spawn(async move {
                let status = ask::status(address).await.ok()?;
                (status.cluster == cluster).then(|| (Instant::now(), status))
            }));
        }
        let mut readings = Vec::new();
        for task in asked {
            readings.push(task.await.ok().flatten());
        }
        readings
    }
}

/// How a replica got on between two readings of one and the same process.
#[derive(Debug, PartialEq)]
pub(super) struct Progress {
    pub(super) rounds_per_second: f64,
    /// `None` if there was no round.
    pub(super) requests_per_round: Option<f64>,
    /// What its counters gained, those that gained nothing left out.
    pub(super) counters: BTreeMap<String, u64>,
}

impl Progress {
    /// `None` if a reading is missing, or the replica was started anew in between.
    pub(super) fn between(before: &Reading, after: &Reading) -> Option<Self> {
        let ((t0, before), (t1, after)) = (before.as_ref()?, after.as_ref()?);
        let seconds = t1.saturating_duration_since(*t0).as_secs_f64();
        if before.pid != after.pid || before.incarnation != after.incarnation || seconds <= 0.0 {
            return None;
        }
        let rounds = after.executed_round.saturating_sub(before.executed_round) as f64;
        let requests = after.executed.saturating_sub(before.executed) as f64;
        let gained = after.counters.iter().map(|(name, n)| {
            let had = before.counters.get(name).copied().unwrap_or_default();
            (name.clone(), n.saturating_sub(had))
        });
        Some(Self {
            rounds_per_second: rounds / seconds,
            requests_per_round: (rounds > 0.0).then(|| requests / rounds),
            counters: gained.filter(|(_, n)| *n > 0).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(round: u64, executed: u64, stalls: u64) -> Status {
        let counters = [("stalls".to_owned(), stalls), ("busy".to_owned(), 5)].into();
        Status { pid: 7, executed_round: round, executed, counters, ..Status::default() }
    }

    #[test]
    fn progress_is_the_difference_over_the_time_between() {
        let t = Instant::now();
        let before = Some((t, status(100, 1000, 1)));
        let after = Some((t + Duration::from_secs(2), status(300, 9000, 4)));
        let progress = Progress::between(&before, &after).unwrap();
        assert_eq!((progress.rounds_per_second, progress.requests_per_round), (100.0, Some(40.0)));
        assert_eq!(progress.counters, [("stalls".to_owned(), 3)].into());
        let idle = Some((t + Duration::from_secs(1), status(100, 1000, 1)));
        assert_eq!(Progress::between(&before, &idle).unwrap().requests_per_round, None);
    }

    #[test]
    fn there_is_none_without_both_readings_or_over_a_restart() {
        let t = Instant::now();
        let before = Some((t, status(1, 1, 1)));
        let later = t + Duration::from_secs(1);
        let restarted = Some((later, Status { pid: 8, ..status(9, 9, 9) }));
        assert_eq!(Progress::between(&before, &restarted), None);
        let again = Some((later, Status { incarnation: 1, ..status(9, 9, 9) }));
        assert_eq!(Progress::between(&before, &again), None);
        assert_eq!(Progress::between(&before, &None), None);
        assert_eq!(Progress::between(&None, &before), None);
    }
}
