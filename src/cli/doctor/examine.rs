//! One replica, examined.

use super::{Problem, called, names};
use crate::client::resolve;
use crate::config::{Cluster, ReplicaEntry};
use crate::transport::{Endpoint, Lane, Link, LinkClass, LinkError, LinkEvent};
use crate::types::{ClockKind, Digest, GroupId, ReplicaId};
use crate::wire::{Frame, Greeting, Hello, Kind, Message as _, PROTOCOL_VERSION, Ping, Pong};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Measurements on one link, one after the other.
const PINGS: u64 = 9;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whom to examine, and what should be found.
pub(super) struct Plan {
    replica: ReplicaEntry,
    cluster: Digest,
    fields: Vec<(String, Digest)>,
    delta: Duration,
    clock: ClockKind,
}

impl Plan {
    pub fn new(cluster: &Cluster, replica: &ReplicaEntry) -> Self {
        Self {
            replica: replica.clone(),
            cluster: cluster.id(),
            fields: cluster.fields(),
            delta: cluster.timing.delta,
            clock: cluster.clock,
        }
    }
}

/// What was found; `None` is what could not be looked at.
#[derive(Debug)]
pub(super) struct Examined {
    pub replica: ReplicaId,
    pub address: String,
    pub reachable: bool,
    pub right_key: Option<bool>,
    pub admitted: Option<bool>,
    pub same_cluster: Option<bool>,
    pub fields_differ: Option<Vec<String>>,
    pub incarnation: Option<u64>,
    pub restarted: Option<bool>,
    pub round: Option<u64>,
    pub rtt: Option<RoundTrip>,
    pub offset_us: Option<i64>,
    pub problems: Vec<Problem>,
}

/// Round trips, the replica's handling included.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    pub least: Duration,
    pub median: Duration,
}

/// Dials, judges the hello, measures.
pub(super) async fn examine(endpoint: Arc<Endpoint>, plan: Plan) -> Examined {
    let mut found = Examined {
        replica: plan.replica.id,
        address: plan.replica.address.clone(),
        reachable: false,
        right_key: None,
        admitted: None,
        same_cluster: None,
        fields_differ: None,
        incarnation: None,
        restarted: None,
        round: None,
        rtt: None,
        offset_us: None,
        problems: Vec::new(),
    };
    if let Some((link, first)) = found.dial(&endpoint, &plan).await {
        let fits = found.judge(&plan, &first);
        if fits && let Some(trips) = found.measure(link, &plan).await {
            found.judge_times(&plan, trips);
        }
    }
    found
}

impl Examined {
    fn problem(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(what, remedy));
    }

    async fn dial(&mut self, endpoint: &Endpoint, plan: &Plan) -> Option<(Link, Frame)> {
        let address = &plan.replica.address;
        let addresses = match resolve(address).await {
            Ok(addresses) => addresses,
            Err(e) => {
                let what = format!("cannot find the address {address}: {e}");
                self.problem(what, "write an IP address or a name that this host can look up");
                return None;
            }
        };
        let mut errors = Vec::new();
        for to in addresses {
            let key = &plan.replica.public_key;
            let linked = match endpoint.dial(to, key, LinkClass::Client).await {
                Ok(dialled) => dialled.wait().await,
                Err(error) => Err(error),
            };
            match linked {
                Ok(link) => {
                    (self.reachable, self.right_key, self.admitted) =
                        (true, Some(true), Some(true));
                    return Some(link);
                }
                Err(error) => errors.push(error),
            }
        }
        errors.iter().for_each(|error| self.failed(error));
        None
    }

    fn failed(&mut self, error: &LinkError) {
        let remedy = match error {
            LinkError::NoAnswer { .. } => {
                "start it, and let UDP pass to its port in every firewall between"
            }
            LinkError::WrongKey { .. } => {
                "correct its address or its public_key in the cluster file"
            }
            LinkError::NotAdmitted { .. } => {
                "add this key as a [[client]] to the cluster file on its host, and start it anew"
            }
            LinkError::OtherProtocol { .. } => "run the same release of quorate everywhere",
            LinkError::Busy { .. } | LinkError::Closed { .. } | LinkError::Lost { .. } => {
                "try again; its log may say more"
            }
            LinkError::Handshake { .. } | LinkError::Protocol { .. } => {
                "compare the releases of quorate on both sides; its log may say more"
            }
            LinkError::CannotDial { .. } => "correct its address in the cluster file",
        };
        match error {
            LinkError::NoAnswer { .. } | LinkError::CannotDial { .. } => {}
            LinkError::WrongKey { .. } => (self.reachable, self.right_key) = (true, Some(false)),
            LinkError::NotAdmitted { .. } => {
                (self.reachable, self.right_key, self.admitted) = (true, Some(true), Some(false));
            }
            LinkError::OtherProtocol { .. }
            | LinkError::Busy { .. }
            | LinkError::Handshake { .. }
            | LinkError::Closed { .. }
            | LinkError::Protocol { .. }
            | LinkError::Lost { .. } => self.reachable = true,
        }
        self.problem(error.to_string(), remedy);
    }

    // Whether the replica would take a greeting after this hello.
    fn judge(&mut self, plan: &Plan, first: &Frame) -> bool {
        let hello = match first.kind {
            Kind::Hello => Hello::from_body(&first.body).map_err(|e| e.to_string()),
            kind => Err(format!("a frame of kind {kind:?}")),
        };
        let whom = called(self.replica, &self.address);
        let same_release = "run the same release of quorate everywhere";
        let hello = match hello {
            Ok(hello) => hello,
            Err(why) => {
                let what = format!("{whom} does not say hello as it should: {why}");
                self.problem(what, same_release);
                return false;
            }
        };
        self.incarnation = Some(hello.incarnation);
        self.restarted = Some(hello.restarted);
        self.round = hello.groups.iter().find(|g| g.group == GroupId::MAIN).map(|g| g.round.0);
        self.same_cluster = Some(hello.cluster == plan.cluster);
        if hello.version != PROTOCOL_VERSION {
            let theirs = hello.version;
            let what = format!("it speaks protocol version {theirs}, not {PROTOCOL_VERSION}");
            self.problem(what, same_release);
        }
        let differ = differences(&plan.fields, &hello.fields);
        if hello.cluster != plan.cluster {
            let (theirs, ours) = (hello.cluster, plan.cluster);
            let fields = names(&differ);
            self.problem(
                format!(
                    "it belongs to cluster {theirs}, this file describes {ours}: they differ in \
                     {fields}"
                ),
                "use the file that it was started with",
            );
        } else {
            if !differ.is_empty() {
                self.problem(
                    format!("its configuration differs from this file in: {}", names(&differ)),
                    "compare `quorate check` on both hosts; it takes no part until all agree",
                );
            }
            self.fields_differ = Some(differ);
        }
        if hello.replica != self.replica {
            let what = format!("it says that it is {}", hello.replica);
            self.problem(what, "correct --id, or the order of the keys in the cluster file");
        }
        if hello.restarted {
            self.problem(
                "it restarted without its state: it signs nothing and answers nobody",
                "at most t replicas may be so; else make a new cluster with `quorate init`",
            );
        }
        hello.version == PROTOCOL_VERSION && hello.cluster == plan.cluster
    }

    // The round trip and the clock offset of each ping, in the order of the round trips.
    async fn measure(&mut self, mut link: Link, plan: &Plan) -> Option<Vec<(Duration, i128)>> {
        let (events, mut happened) = mpsc::channel(16);
        link.start(events, ());
        let greeting = Greeting { version: PROTOCOL_VERSION, cluster: plan.cluster };
        link.send(Lane::Protocol, &greeting.to_frame(GroupId::MAIN));
        let mut trips = Vec::new();
        for n in 0..PINGS {
            let (began, wall) = (Instant::now(), wall_us());
            link.send(Lane::Protocol, &Ping { sent: n, wall }.to_frame(GroupId::MAIN));
            link.flush();
            match timeout(PATIENCE, pong(&mut happened, n)).await {
                Ok(Ok(pong)) => {
                    let trip = began.elapsed();
                    let middle = i128::from(wall) + (trip.as_micros() / 2) as i128;
                    trips.push((trip, i128::from(pong.answered) - middle));
                }
                Ok(Err(reason)) => {
                    let what = format!("it closed the link after the greeting: {reason}");
                    self.problem(what, "its log may say more");
                    return None;
                }
                Err(_) => {
                    let what = format!("the link is up, but a ping had no answer in {PATIENCE:?}");
                    self.problem(what, "is its process stopped or its host overloaded?");
                    return None;
                }
            }
        }
        link.close("examined");
        trips.sort_unstable();
        Some(trips)
    }

    fn judge_times(&mut self, plan: &Plan, trips: Vec<(Duration, i128)>) {
        let (Some((least, offset)), Some((median, _))) =
            (trips.first(), trips.get(trips.len() / 2))
        else {
            return;
        };
        let (least, median) = (*least, *median);
        self.rtt = Some(RoundTrip { least, median });
        let furthest = if *offset < 0 { i64::MIN } else { i64::MAX };
        let offset = i64::try_from(*offset).unwrap_or(furthest);
        self.offset_us = Some(offset);
        if least > 2 * plan.delta {
            let delta = plan.delta;
            self.problem(
                format!("the fastest round trip takes {least:.1?}, above twice delta, {delta:?}"),
                "delta bounds the delay of one message between replicas: raise it in the cluster \
                 file if they are as far apart",
            );
        }
        // The fastest round trip leaves half of itself open.
        let sure = Duration::from_micros(offset.unsigned_abs()).saturating_sub(least / 2);
        if plan.clock != ClockKind::Logical && sure > plan.delta {
            self.problem(
                format!(
                    "its clock and this host's differ by {:.1?}",
                    Duration::from_micros(offset.unsigned_abs())
                ),
                "set the clocks of all hosts by NTP: candidate ids come from them",
            );
        }
    }
}

async fn pong(happened: &mut mpsc::Receiver<((), LinkEvent)>, n: u64) -> Result<Pong, String> {
    loop {
        match happened.recv().await {
            Some(((), LinkEvent::Frames { frames, .. })) => {
                let pongs = frames.iter().filter(|f| f.kind == Kind::Pong);
                let mut pongs = pongs.filter_map(|f| Pong::from_body(&f.body).ok());
                if let Some(pong) = pongs.find(|pong| pong.sent == n) {
                    return Ok(pong);
                }
            }
            Some(((), LinkEvent::Closed { reason, .. })) => return Err(reason),
            None => return Err("the link has ended".to_owned()),
        }
    }
}

// Names of the fields that only one side has or that differ.
fn differences(ours: &[(String, Digest)], theirs: &[(String, Digest)]) -> Vec<String> {
    let only = |a: &[(String, Digest)], b: &[(String, Digest)]| {
        a.iter().filter(|f| !b.contains(f)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut names = only(ours, theirs);
    names.extend(only(theirs, ours));
    names.sort();
    names.dedup();
    names
}

fn wall_us() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_are_named_whoever_has_them() {
        let field = |name: &str, n: u8| (name.to_owned(), Digest([n; 32]));
        let ours = [field("delta", 1), field("clock", 2), field("old", 3)];
        let theirs = [field("delta", 9), field("clock", 2), field("new", 4)];
        assert_eq!(differences(&ours, &theirs), ["delta", "new", "old"]);
        assert!(differences(&ours, &ours).is_empty());
    }
}
