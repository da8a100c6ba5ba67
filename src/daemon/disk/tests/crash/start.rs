//! What a start finds on the disks, and what it must find.

use super::media::{DATA, Media, ROUNDS, Tap};
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey};
use crate::daemon::DaemonError;
use crate::daemon::disk::log::Log;
use crate::daemon::disk::rounds::{FoundRounds, Rounds};
use crate::daemon::disk::secret::owner;
use crate::daemon::disk::{REWRITE_ABOVE, needed};
use crate::daemon::mark;
use crate::replica::{Action, Actions, Event, Input, Recovered, Replica, Setup, Stored};
use crate::service::kv::Kv;
use crate::storage::{DiskError, Limits, read_whole};
use crate::types::{
    ClockKind, Digest, DiskState, Durability, Ensemble, GroupId, OrderLimits, Quotas,
};
use crate::types::{Now, ReplicaId, Timing};
use crate::wire::{Mark, Reply, StepPosition};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

const CLUSTER: Digest = Digest([9; 32]);
const LIMITS: Limits =
    Limits { segment_bytes: 48 << 10, record_bytes: 24 << 10, reserve_bytes: 48 << 10 };
/// So many bytes of the log are followed by a snapshot.
const LOG_BYTES: u64 = 40 << 10;

/// The disks of a replica that has started on them.
pub struct Started {
    pub log: Log<Tap>,
    pub rounds: Rounds<Tap>,
    pub records: Vec<Bytes>,
    pub found: FoundRounds,
    pub incarnation: u64,
    pub disk: DiskState,
}

/// Does what the daemon does with its directories before it makes the replica.
pub fn start(media: &Rc<RefCell<Media>>, id: ReplicaId) -> Result<Started, String> {
    let (data, rounds) = (Tap(media.clone(), DATA), Tap(media.clone(), ROUNDS));
    let failed = |e: DaemonError| e.to_string();
    let mark = match read_whole(&mut data.clone(), mark::FILE) {
        Ok(bytes) => Some(Mark::parse(&bytes).map_err(|e| format!("the mark: {e}"))?),
        Err(DiskError::NotFound) => None,
        Err(e) => return Err(e.to_string()),
    };
    let before = mark.map(|mark| mark.disk);
    let path = Path::new("memory");
    let (mut log, records) = Log::open_on(data.clone(), path, before.is_some()).map_err(failed)?;
    if before.is_none() && !records.is_empty() {
        return Err("there are records, and no mark".to_owned());
    }
    let records = log.shorten(records, REWRITE_ABOVE, needed).map_err(failed)?;
    let keys = (owner(CLUSTER, id), Digest([5; 32]));
    let opened = Rounds::open_on(rounds, PathBuf::from("memory"), keys, LIMITS);
    let (mut rounds, mut found) = opened.map_err(failed)?;
    rounds.keep(2);
    if before == Some(DiskState::Known) && rounds.is_new() {
        rounds.lose(&mut found, "there was no log").map_err(failed)?;
    }
    if before.is_none() && (found.next > 0 || found.snapshot.is_some()) {
        return Err("there are rounds, and no mark".to_owned());
    }
    let incarnation = mark.map_or(0, |m| m.incarnation) + 1;
    let disk = before.unwrap_or_default();
    put_mark(media, id, (incarnation, disk)).map_err(|e| e.to_string())?;
    Ok(Started { log, rounds, records, found, incarnation, disk })
}

/// Writes the mark as the daemon does.
pub fn put_mark(
    media: &Rc<RefCell<Media>>,
    id: ReplicaId,
    (incarnation, disk): (u64, DiskState),
) -> Result<(), DiskError> {
    let mark = Mark { cluster: CLUSTER, replica: id, incarnation, disk };
    mark::put(&mut Tap(media.clone(), DATA), mark)
}

/// A replica on what a start has found; a new one if it has found nothing.
pub fn replica(
    id: ReplicaId,
    incarnation: u64,
    disk: DiskState,
    (durability, (recovered, stored)): (Durability, (Vec<Bytes>, Stored)),
    now: Now,
) -> Replica<Keyed> {
    let secret = |i: usize| SecretKey::from_seed([i as u8 + 1; 32]);
    let keys: Vec<PublicKey> = (0..3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let context = Context { cluster: CLUSTER, group: GroupId::MAIN };
    let setup = Setup::<Keyed> {
        inherited: None,
        id,
        keyring: Keyring::new(context, Ensemble::new(1).unwrap(), keys).unwrap(),
        signer: Keyed::signer(&secret(id.index())),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(Duration::from_millis(20)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits { checkpoint_every: 8, ..OrderLimits::default() },
        quotas: Quotas { log_bytes: LOG_BYTES, ..Quotas::default() },
        seed: 5,
        incarnation,
        disk,
        recovered,
        durability,
        stored,
        fields: vec![],
        encode_at_once: usize::MAX,
        trace: true,
    };
    Replica::new(setup, Box::new(Kv::new()), now)
}

/// What is durable, as the disk has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    pub records: usize,
    pub entries: usize,
    /// The round of the last snapshot.
    pub saved: u64,
}

/// What a replica has done in its first life.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub durability: Durability,
    /// All records and entries that it gave to the disk, in order.
    pub records: Vec<Bytes>,
    pub entries: Vec<Bytes>,
    /// What the disk has told it.
    pub durable: Durable,
    /// Replies that left it, by session and number.
    pub replies: BTreeMap<(u64, u64), (StepPosition, Reply)>,
}

impl Book {
    /// Looks at what is on these disks after a crash, as the next life finds it, and that it stays
    /// even if the power goes at once. Gives what the replica says that it took up.
    pub fn examine(&self, media: &Rc<RefCell<Media>>, id: ReplicaId) -> Result<Recovered, String> {
        let started = start(media, id).map_err(|e| format!("it does not start: {e}"))?;
        self.compare(&started)?;
        let Started { records, found, incarnation, disk, .. } = started;
        let whole = (records.clone(), found.clone());
        let told = self.take_up((records, found), id, (incarnation, disk))?;
        let left = super::media::End::Lost.of(&media.borrow().disks, 1);
        let again = start(&Media::new(left), id).map_err(|e| format!("at the next start: {e}"))?;
        if (again.records, again.found) != whole {
            return Err("what a start has found is gone at the next one".to_owned());
        }
        Ok(told)
    }

    // What the files hold is what was given to them, up to where it was told that it is durable at
    // least.
    fn compare(&self, started: &Started) -> Result<(), String> {
        let Started { records, found, .. } = started;
        if let Some(damage) = &found.damage {
            return Err(format!("a crash looks like damage: {damage}"));
        }
        let (kept, durable) = (records.len(), self.durable.records);
        if kept < durable || self.records.get(..kept) != Some(&records[..]) {
            return Err(format!("{kept} records are left of {durable} durable ones, or others"));
        }
        let (first, next) = (found.first as usize, found.next as usize);
        if next < self.durable.entries || self.entries.get(first..next) != Some(&found.entries) {
            let durable = self.durable.entries;
            return Err(format!("entries {first} to {next} are left of {durable}, or others"));
        }
        Ok(())
    }

    // A replica that takes it up can answer as it has.
    fn take_up(
        &self,
        (records, found): (Vec<Bytes>, FoundRounds),
        id: ReplicaId,
        (incarnation, disk): (u64, DiskState),
    ) -> Result<Recovered, String> {
        let stored = Stored::from(found);
        let found = (self.durability, (records, stored));
        let mut replica = replica(id, incarnation, disk, found, Now::default());
        let mut out = Actions::new();
        replica.handle(Now::default(), Input::Tick, &mut out);
        let told = out.into_iter().find_map(|action| match action {
            Action::Event(Event::Recovered(found)) => Some(*found),
            _ => None,
        });
        let Some(told) = told else {
            return match disk {
                DiskState::New => Ok(Recovered::default()),
                _ => Err("it does not say what it took up".to_owned()),
            };
        };
        if told.damage.is_some() || told.snapshot.0 < self.durable.saved {
            return Err(format!("it took up {told:?}"));
        }
        for (position, reply) in self.replies.values() {
            let (round, snapshot) = (position.round, told.snapshot);
            if round > told.round {
                return Err(format!("it replied in {round:?}, and has only {:?}", told.round));
            }
            let is_same = told.steps.iter().any(|step| {
                step.position == *position
                    && step.entries.iter().any(|entry| {
                        (entry.index, &entry.outcome, entry.request.number)
                            == (reply.index, &reply.outcome, reply.number)
                    })
            });
            if round > snapshot && !is_same {
                return Err(format!("it replied {reply:?} in {round:?} and would not again"));
            }
        }
        Ok(told)
    }
}
