//! Three replicas, one client and a network without surprises. The first replica is on disks that
//! can end, with the thread that writes in its place, step by step.

use super::media::{End, Media};
use super::start::{Book, Started, put_mark, replica, start};
use crate::crypto::Keyed;
use crate::daemon::disk::worker::Worker;
use crate::daemon::disk::{Done, Job};
use crate::daemon::disk::{End as WorkerEnd, Inbox};
use crate::replica::{Action, Actions, Event, Input, Replica, Standing, Stored};
use crate::service::kv::Command as KvCommand;
use crate::storage::Moment;
use crate::types::{
    ClientId, DiskState, Durability, Epoch, GroupId, Instant, LinkId, Now, ReplicaId, Role, Round,
};
use crate::types::{SessionId, Wall};
use crate::wire::{self, Command, CommandKind, Frame, Kind, Message, Outcome, Proposal, Replies};
use crate::wire::{Request, RequestBody};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc as std_mpsc;
use tokio::sync::mpsc;

/// The one whose disks end.
pub const VICTIM: usize = 0;
/// The one that is cut off for a while.
const CUT: usize = 2;
const LINK: LinkId = LinkId(1);
const CLIENT: ClientId = ClientId([7; 32]);
const SESSION: SessionId = SessionId(3);
/// Requests whose replies are still asked for.
const OPEN: u64 = 8;

/// Microseconds.
const LATENCY: u64 = 1_000;
const WORK: u64 = 500;
const SYNC: u64 = 300;
const IDLE: u64 = 50_000;
const REQUESTS: u64 = 9_000;
/// When the third replica is cut off, and until when.
pub const OUTAGE: (u64, u64) = (900_000, 1_400_000);
/// How long the dead are dead.
const DOWN: u64 = 20_000;

enum Happens {
    Frame { from: usize, to: usize, life: u32, frame: Bytes },
    Up(usize, usize),
    Down(usize, usize),
    Synced { at: usize, life: u32, sequence: u64 },
    Work(u32),
    Idle(u32, u64),
    Ask,
    Boot,
}

/// What a job of the thread holds, for the book.
enum Given {
    Records(usize),
    Entries(usize),
    Snapshot(u64),
}

struct Thread {
    worker: Worker<super::media::Tap, super::media::Tap>,
    jobs: std_mpsc::Sender<Job>,
    inbox: Inbox<Job>,
    done: mpsc::UnboundedReceiver<Done>,
    is_due: bool,
    given: BTreeMap<u64, Given>,
    written: u64,
}

pub struct Bed {
    replicas: [Option<Replica<Keyed>>; 3],
    lives: [u32; 3],
    /// Starts of the first replica, as its mark says.
    incarnation: u64,
    pub media: Rc<RefCell<Media>>,
    thread: Option<Thread>,
    /// Microseconds.
    pub time: u64,
    queue: BTreeMap<(u64, u64), Happens>,
    serial: u64,
    number: u64,
    /// Requests that t + 1 have answered alike, and what each has said of each.
    pub answered: BTreeSet<u64>,
    told: BTreeMap<(u64, usize), (wire::StepPosition, Bytes)>,
    pub book: Book,
    /// What the first replica has proposed, ever, and the last epoch of its earlier lives.
    proposed: BTreeMap<(Epoch, Round), Bytes>,
    past: Option<Epoch>,
    /// What must not be, if anything was.
    pub wrong: Option<String>,
    /// How the disks end.
    end: (End, u64),
    pub crashes: u32,
    /// At which call of a start it ends again, and at how many starts.
    pub again: ((u64, Moment), u32),
}

impl Bed {
    /// A new group; the first replica has not started yet.
    pub fn new(durability: Durability, end: (End, u64)) -> Self {
        let media = Media::new(Default::default());
        let mut bed = Self {
            replicas: [None, None, None],
            lives: [0; 3],
            incarnation: 0,
            media,
            thread: None,
            time: 1_000,
            queue: BTreeMap::new(),
            serial: 0,
            number: 0,
            answered: BTreeSet::new(),
            told: BTreeMap::new(),
            book: Book { durability, ..Book::default() },
            proposed: BTreeMap::new(),
            past: None,
            wrong: None,
            end,
            crashes: 0,
            again: ((0, Moment::Before), 0),
        };
        for i in [1, 2] {
            let fresh = (durability, (Vec::new(), Stored::default()));
            bed.replicas[i] = Some(replica(id(i), 1, DiskState::New, fresh, bed.now()));
            bed.both(i, Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        bed.at(0, Happens::Boot);
        bed.at(LATENCY, Happens::Up(1, 2));
        bed.at(10 * LATENCY, Happens::Ask);
        bed.at(OUTAGE.0, Happens::Down(CUT, 0));
        bed.at(OUTAGE.0, Happens::Down(CUT, 1));
        bed.at(OUTAGE.1, Happens::Up(CUT, 0));
        bed.at(OUTAGE.1, Happens::Up(CUT, 1));
        bed
    }

    fn now(&self) -> Now {
        Now { monotonic: Instant(self.time * 1000), wall: Wall(1_000_000_000 + self.time) }
    }

    fn at(&mut self, delay: u64, what: Happens) {
        self.serial += 1;
        self.queue.insert((self.time + delay, self.serial), what);
    }

    fn fail(&mut self, why: impl Into<String>) {
        let (why, time) = (why.into(), self.time);
        self.wrong.get_or_insert(format!("{why} (at {time} us)"));
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let wake = |r: &Option<Replica<Keyed>>| r.as_ref().and_then(Replica::next_wake);
        let wakes = self.replicas.iter().enumerate();
        let wake = wakes.filter_map(|(i, r)| Some((wake(r)?.0.div_ceil(1000), i))).min();
        let next = self.queue.first_key_value().map(|((time, _), _)| *time);
        match wake.filter(|(time, _)| next.is_none_or(|next| *time < next)) {
            Some((time, i)) => {
                // A timer that is due again at once must not stop the time.
                self.time = time.max(self.time + 100);
                self.give(i, Input::Tick);
                self.give(i, Input::Drained);
            }
            None => {
                let Some(((time, _), what)) = self.queue.pop_first() else { return };
                self.time = self.time.max(time);
                self.happen(what);
            }
        }
    }

    fn happen(&mut self, what: Happens) {
        match what {
            // What the dead have sent still arrives.
            Happens::Frame { from, to, life, frame } => {
                let frame = Frame::parse(frame).expect("replicas send whole frames");
                if life == self.lives[to] && !self.is_cut(from, to) {
                    self.both(to, Input::PeerFrame { peer: id(from), frame });
                }
            }
            Happens::Up(a, b) => {
                if !self.is_cut(a, b) {
                    for (at, to) in [(a, b), (b, a)] {
                        let Some(hello) = self.replicas[to].as_ref().map(Replica::hello) else {
                            return;
                        };
                        self.both(at, Input::PeerUp { peer: id(to), hello });
                    }
                }
            }
            Happens::Down(a, b) => {
                self.both(a, Input::PeerDown { peer: id(b) });
                self.both(b, Input::PeerDown { peer: id(a) });
            }
            Happens::Synced { at, life, sequence } => {
                if life == self.lives[at] {
                    self.both(at, Input::Synced { sequence });
                }
            }
            Happens::Work(life) if life == self.lives[VICTIM] => self.work(),
            Happens::Idle(life, written) if life == self.lives[VICTIM] => {
                let idle = self.thread.as_mut().filter(|t| t.written == written && !t.is_due);
                let failed = idle.is_some_and(|thread| thread.worker.idle().is_err());
                self.after_work(failed);
            }
            Happens::Work(_) | Happens::Idle(..) => {}
            Happens::Ask => self.ask(),
            Happens::Boot => self.boot(),
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        (a == CUT || b == CUT) && (OUTAGE.0..OUTAGE.1).contains(&self.time)
    }

    fn both(&mut self, to: usize, input: Input) {
        self.give(to, input);
        self.give(to, Input::Drained);
    }

    fn give(&mut self, to: usize, input: Input) {
        let (now, mut out) = (self.now(), Actions::new());
        let Some(replica) = &mut self.replicas[to] else { return };
        replica.handle(now, input, &mut out);
        for action in out {
            if self.replicas[to].is_some() {
                self.act(to, action);
            }
        }
    }

    fn act(&mut self, i: usize, action: Action) {
        match action {
            Action::ToPeer { peer, frame, .. } => {
                let to = peer.index();
                if i == VICTIM {
                    self.sends(&frame);
                }
                let life = self.lives[to];
                self.at(LATENCY, Happens::Frame { from: i, to, life, frame });
            }
            Action::ToClient { frame, .. } => self.answers(i, &frame),
            Action::Persist { sequence, .. }
            | Action::Append { sequence, .. }
            | Action::Save { sequence, .. }
                if i != VICTIM =>
            {
                self.at(WORK + SYNC, Happens::Synced { at: i, life: self.lives[i], sequence });
            }
            Action::Persist { sequence, records } => {
                self.book.records.extend(records.iter().cloned());
                let given = Given::Records(self.book.records.len());
                self.job(sequence, given, Job::Persist { sequence, records });
            }
            Action::Append { sequence, entries, urgent } => {
                self.book.entries.extend(entries.iter().cloned());
                let given = Given::Entries(self.book.entries.len());
                self.job(sequence, given, Job::Append { sequence, entries, urgent });
            }
            Action::Save { sequence, round: Round(round), first, head, state } => {
                let job = Job::Save { sequence, round, first, head, state };
                self.job(sequence, Given::Snapshot(round), job);
            }
            Action::MarkKnown if i == VICTIM => {
                let known = (self.incarnation, DiskState::Known);
                if put_mark(&self.media, id(VICTIM), known).is_err() {
                    self.crash();
                }
            }
            Action::Event(event) => self.hears(i, &event),
            Action::ClosePeer { peer, reason } => {
                self.fail(format!("{} closes the link to {peer}: {reason}", id(i)));
            }
            _ => {}
        }
    }

    // §7: what it has signed once it never contradicts. It signs nothing in an old epoch, unless it
    // knows all that it has signed there.
    fn sends(&mut self, frame: &Bytes) {
        let frame = Frame::parse(frame.clone()).expect("replicas send whole frames");
        if frame.kind != Kind::Proposal {
            return;
        }
        let signed = crate::crypto::Unverified::<Proposal>::from_body(&frame.body);
        let proposal = signed.expect("replicas send what can be read").peek().clone();
        if proposal.replica != id(VICTIM) {
            return;
        }
        let (epoch, round) = (proposal.epoch, proposal.round);
        if let Some(before) = self.proposed.insert((epoch, round), frame.body.clone()) {
            if before != frame.body {
                self.fail(format!("it signs two proposals for {epoch} {round:?}"));
            }
        } else if self.past.is_some_and(|past| epoch <= past)
            && self.book.durability == Durability::Reply
        {
            self.fail(format!("it signs in {epoch} again, {round:?}"));
        }
    }

    fn hears(&mut self, i: usize, event: &Event) {
        let is_bad = matches!(
            event,
            Event::Equivocation { .. }
                | Event::InvalidProposal { .. }
                | Event::Proven { .. }
                | Event::Diverged { .. }
                | Event::Quarantined { .. }
                | Event::Nondeterministic { .. }
                | Event::Halted { .. }
        );
        if is_bad {
            self.fail(format!("{} says {event:?}", id(i)));
        }
        if let Event::Recovered(found) = event
            && let Some(damage) = &found.damage
            && self.wrong.is_none()
        {
            self.fail(format!("a crash looks like damage: {damage}"));
        }
    }

    // --- the client ---------------------------------------------------------------------------

    fn ask(&mut self) {
        let number = self.number;
        let body = match number {
            0 => Bytes::new(),
            n => {
                let key = (n % 12).to_string();
                let bytes = KvCommand::put(&key, &vec![n as u8; 200]).encode().into();
                let kind = CommandKind::Execute;
                RequestBody { commands: vec![Command { kind, bytes }] }.to_bytes()
            }
        };
        let low = number.saturating_sub(OPEN).max(number.min(1));
        let request = Request { session: SESSION, number, low, body };
        let frame = Frame::parse(request.to_frame(GroupId::MAIN).into()).expect("a frame");
        for i in 0..3 {
            self.both(i, Input::ClientFrames { link: LINK, frames: vec![frame.clone()] });
        }
        self.number += 1;
        self.at(REQUESTS, Happens::Ask);
    }

    fn answers(&mut self, i: usize, frame: &Bytes) {
        let frame = Frame::parse(frame.clone()).expect("replicas send whole frames");
        if frame.kind != Kind::Replies {
            return;
        }
        let replies = Replies::from_body(&frame.body).expect("replicas send what can be read");
        for reply in replies.replies {
            let (number, position) = (reply.number, replies.position);
            if !matches!(Outcome::parse(&reply.outcome), Ok(Outcome::Executed(_) | Outcome::Opened))
            {
                self.fail(format!("request {number} got {:?}", reply.outcome));
            }
            let told = (position, reply.outcome.clone());
            let same = self.told.iter().filter(|((n, _), _)| *n == number);
            let (same, others): (Vec<_>, Vec<_>) = same.partition(|(_, t)| **t == told);
            if !others.is_empty() {
                self.fail(format!("{} answers request {number} in another way", id(i)));
            } else if same.iter().any(|((_, who), _)| *who != i) {
                self.answered.insert(number);
            }
            self.told.insert((number, i), told);
            if i == VICTIM {
                self.book.replies.insert((reply.session.0, number), (position, reply));
            }
        }
    }

    /// Whether all is as it was before the crash: the first replica is a member and answers what
    /// the others do, of the last requests.
    pub fn is_well(&self) -> bool {
        let last = self.number.saturating_sub(4);
        let answers = |number: u64| (0..3).all(|i| self.told.contains_key(&(number, i)));
        let members = self
            .replicas
            .iter()
            .flatten()
            .filter(|replica| replica.glance().standing == Standing::Member);
        members.count() == 3 && last > 0 && answers(last) && self.answered.contains(&last)
    }

    /// How many rounds the first replica has executed.
    pub fn rounds(&self) -> u64 {
        self.replicas[VICTIM].as_ref().map_or(0, |r| r.glance().executed_round.0)
    }

    // --- the disks ----------------------------------------------------------------------------

    fn boot(&mut self) {
        let started = match start(&self.media, id(VICTIM)) {
            Ok(started) => started,
            Err(_) if self.media.borrow().is_over => return self.crash(),
            Err(why) => return self.fail(format!("it does not start: {why}")),
        };
        let Started { log, rounds, records, found, incarnation, disk } = started;
        let (jobs, inbox) = std_mpsc::channel();
        let (said, done) = mpsc::unbounded_channel();
        self.thread = Some(Thread {
            worker: Worker::new(log, Some(rounds), PathBuf::new(), said),
            jobs,
            inbox: Inbox::new(inbox),
            done,
            is_due: false,
            given: BTreeMap::new(),
            written: 0,
        });
        let found = (self.book.durability, (records, Stored::from(found)));
        let replica = replica(id(VICTIM), incarnation, disk, found, self.now());
        self.incarnation = incarnation;
        self.replicas[VICTIM] = Some(replica);
        self.both(VICTIM, Input::Tick);
        let up = Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write };
        self.both(VICTIM, up);
        self.at(LATENCY, Happens::Up(VICTIM, 1));
        self.at(LATENCY, Happens::Up(VICTIM, 2));
    }

    fn crash(&mut self) {
        self.crashes += 1;
        (self.replicas[VICTIM], self.thread) = (None, None);
        self.lives[VICTIM] += 1;
        self.past = self.proposed.keys().map(|(epoch, _)| *epoch).max();
        let disks = self.end.0.of(&self.media.borrow().disks, self.end.1);
        self.media = Media::new(disks);
        if self.crashes <= self.again.1 {
            self.media.borrow_mut().crash = Some(self.again.0);
        }
        self.at(3 * LATENCY, Happens::Down(VICTIM, 1));
        self.at(3 * LATENCY, Happens::Down(VICTIM, 2));
        self.at(DOWN, Happens::Boot);
    }

    fn job(&mut self, sequence: u64, given: Given, job: Job) {
        let Some(thread) = &mut self.thread else { return };
        thread.given.insert(sequence, given);
        thread.jobs.send(job).expect("the inbox is there");
        self.due();
    }

    fn due(&mut self) {
        let life = self.lives[VICTIM];
        if let Some(thread) = self.thread.as_mut().filter(|t| !t.is_due) {
            thread.is_due = true;
            self.at(WORK, Happens::Work(life));
        }
    }

    // Jobs that wait, or a slice of the snapshot.
    fn work(&mut self) {
        let Some(thread) = &mut self.thread else { return };
        (thread.is_due, thread.written) = (false, thread.written + 1);
        let job = thread.inbox.try_next();
        let more = job.is_some();
        let written = match job {
            Some(job) => thread.worker.write(job, &mut thread.inbox),
            None => thread.worker.save_slice(),
        };
        let failed = matches!(written, Err(WorkerEnd::Failed(_)));
        let (written, more) = (thread.written, more || thread.worker.saving.is_some());
        let idle = Happens::Idle(self.lives[VICTIM], written);
        self.at(IDLE, idle);
        if more {
            self.due();
        }
        self.after_work(failed);
    }

    // What could have been left is looked at before the replica hears of anything.
    fn after_work(&mut self, failed: bool) {
        if self.media.borrow().is_over {
            return self.crash();
        }
        if failed {
            return self.fail("the disk fails");
        }
        let mut done = VecDeque::new();
        if let Some(thread) = &mut self.thread {
            while let Ok(Ok(sequence)) = thread.done.try_recv() {
                done.push_back((sequence, thread.given.remove(&sequence)));
            }
        }
        for (sequence, given) in done {
            match given {
                Some(Given::Records(n)) => self.book.durable.records = n,
                Some(Given::Entries(n)) => self.book.durable.entries = n,
                Some(Given::Snapshot(round)) => self.book.durable.saved = round,
                None => {}
            }
            let life = self.lives[VICTIM];
            self.at(SYNC, Happens::Synced { at: VICTIM, life, sequence });
        }
    }
}

fn id(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}
