//! Reading a whole log of rounds, entry by entry.

use super::judge::{Judge, Problem};
use crate::crypto::{Context, Scheme, Unverified};
use crate::storage::{
    Cursor, Disk, Found, Log, LogError, Options, Position, SnapshotError, Snapshots, Step,
};
use crate::types::{Digest, Epoch, Members, Round};
use crate::wire::{Body, LogEntry, Message, Proposal, Request, RequestBody};
use std::collections::BTreeMap;

/// What an entry of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A complete vector: it commits the one before it.
    Vector,
    /// A vector that the next opening commits.
    Base,
    /// A committed opening.
    Opening,
    /// Requests of a step.
    Bodies,
    /// Entries before it are given up: others had not gone on with them.
    Undone,
    /// A proposal of the replica whose log this is, before it left.
    Own,
    /// An opening that the next one commits.
    Leg,
    /// Bytes that are no entry of this version.
    Unknown,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Vector => "vector",
            Kind::Base => "base",
            Kind::Opening => "opening",
            Kind::Bodies => "bodies",
            Kind::Undone => "undone",
            Kind::Own => "own",
            Kind::Leg => "leg",
            Kind::Unknown => "unknown",
        }
    }
}

/// An entry as it is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its place in the log.
    pub place: Position,
    /// What it is.
    pub kind: Kind,
    /// Bytes of it.
    pub bytes: usize,
    /// The epoch that it is of; of bodies that of the last vector before them.
    pub epoch: Option<Epoch>,
    /// The epoch's members, as far as the entry says.
    pub members: Members,
    /// The round that it is of; of an opening that of the highest vector that a Report names.
    pub round: Option<Round>,
    /// What it holds; `None` if it cannot be read.
    pub entry: Option<LogEntry>,
    /// The requests of bodies, with their digests.
    pub requests: Vec<(Digest, Body, Option<Request>)>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// How many there are, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub entries: u64,
    /// Bytes of these, without what the log has beside each.
    pub bytes: u64,
}

/// What a log of rounds holds.
#[derive(Clone, Debug)]
pub struct LogSurvey {
    /// What a start would find and do: records, damages, an unfinished write at the end.
    pub found: Found,
    /// Files of the log with their lengths in bytes, in order.
    pub segments: Vec<(String, u64)>,
    /// The chain's value behind the last record; `None` if the end is damaged.
    pub chain: Option<Digest>,
    /// Entries by kind.
    pub kinds: BTreeMap<Kind, Tally>,
    /// The first and the last round of the vectors.
    pub rounds: Option<(Round, Round)>,
    /// Epochs of the vectors.
    pub epochs: u64,
    /// Requests of clients in the bodies, with the bytes of their commands.
    pub requests: Tally,
    /// Commands in these.
    pub commands: u64,
    /// Signatures that were checked.
    pub signatures: u64,
    /// What is wrong with entries, in order; of many the first [`LogSurvey::PROBLEMS`].
    pub problems: Vec<(Position, Problem)>,
    /// How many there were.
    pub problem_count: u64,
}

impl LogSurvey {
    /// Problems that are kept.
    pub const PROBLEMS: usize = 100;

    /// Whether nothing is damaged and nothing wrong. An unfinished write at the end is neither.
    pub fn is_sound(&self) -> bool {
        self.found.damages.is_empty() && self.problem_count == 0
    }
}

/// Reads the whole log, gives each entry to `visit`, and tells what it holds. With a judge, the
/// signatures and certificates are checked, too. Give it an [`crate::storage::Overlay`]:
/// opening a log writes.
///
/// # Errors
/// As [`Log::open`] and [`Log::read`].
pub fn survey<D: Disk, S: Scheme>(
    disk: &mut D,
    options: Options,
    context: Context,
    mut judge: Option<Judge<'_, S>>,
    visit: &mut dyn FnMut(&Listed),
) -> Result<LogSurvey, LogError> {
    let segments = segments(disk)?;
    let (mut log, found) = Log::open(disk, options, &mut |_| {})?;
    let mut out = LogSurvey {
        segments,
        chain: log.chain(),
        kinds: BTreeMap::new(),
        rounds: None,
        epochs: 0,
        requests: Tally::default(),
        commands: 0,
        signatures: 0,
        problems: Vec::new(),
        problem_count: 0,
        found,
    };
    let (mut cursor, mut last) = (Cursor::new(log.first()), (None, Members::NONE));
    loop {
        let stored = match log.read(disk, &mut cursor)? {
            Step::Record(stored) => stored,
            // Among the damages already, unless it became so a moment ago.
            Step::Damaged(damage) => {
                if !out.found.damages.contains(&damage) {
                    out.found.damages.push(damage);
                }
                judge.iter_mut().for_each(Judge::passed_over);
                continue;
            }
            Step::Dropped(_) => continue,
            Step::End => break,
        };
        let mut listed = list(stored.position, &stored.payload, &context, last);
        if let (Some(judge), Some(entry)) = (&mut judge, &listed.entry) {
            listed.problems.extend(judge.look_at(entry));
        }
        out.count(&listed, &mut last);
        visit(&listed);
    }
    out.signatures = judge.map_or(0, |judge| judge.signatures());
    Ok(out)
}

impl LogSurvey {
    fn count(&mut self, listed: &Listed, last: &mut (Option<Epoch>, Members)) {
        let tally = self.kinds.entry(listed.kind).or_default();
        tally.entries += 1;
        tally.bytes += listed.bytes as u64;
        if listed.kind == Kind::Vector
            && let Some(round) = listed.round
        {
            // A reset can lead back to a round that was there before.
            let (first, latest) = self.rounds.unwrap_or((round, round));
            self.rounds = Some((first.min(round), latest.max(round)));
            if listed.epoch != last.0 {
                self.epochs += 1;
            }
            *last = (listed.epoch, listed.members);
        }
        for (_, _, request) in &listed.requests {
            let Some(request) = request else { continue };
            self.requests.entries += 1;
            self.requests.bytes += request.body.len() as u64;
            let parsed = RequestBody::parse(&request.body);
            self.commands += parsed.map_or(0, |body| body.commands.len() as u64);
        }
        self.problem_count += listed.problems.len() as u64;
        let room = Self::PROBLEMS.saturating_sub(self.problems.len());
        let problems = listed.problems.iter().take(room).cloned();
        self.problems.extend(problems.map(|problem| (listed.place, problem)));
    }
}

fn segments(disk: &mut impl Disk) -> Result<Vec<(String, u64)>, LogError> {
    let failed = |file: &str, error| LogError::Disk { file: file.to_owned(), error };
    let names = disk.list().map_err(|e| failed("the directory", e))?;
    let mut segments = Vec::new();
    for name in names.into_iter().filter(|n| n.starts_with("log-") && n.ends_with(".seg")) {
        let length = disk.length(&name).map_err(|e| failed(&name, e))?;
        segments.push((name, length));
    }
    segments.sort();
    Ok(segments)
}

fn list(
    place: Position,
    payload: &[u8],
    context: &Context,
    last: (Option<Epoch>, Members),
) -> Listed {
    let mut listed = Listed {
        place,
        kind: Kind::Unknown,
        bytes: payload.len(),
        epoch: last.0,
        members: last.1,
        round: None,
        entry: None,
        requests: Vec::new(),
        problems: Vec::new(),
    };
    let entry = match LogEntry::parse(payload) {
        Ok(entry) => entry,
        Err(e) => {
            listed.problems.push(Problem::Unreadable { what: e.what, at: e.at });
            return listed;
        }
    };
    let of = |vector: &[Unverified<Proposal>]| {
        let first = vector.first().map(Unverified::peek);
        first.map(|p| (p.epoch, p.members, p.round))
    };
    let of = match &entry {
        LogEntry::Vector(vector) => (Kind::Vector, of(vector)),
        LogEntry::Base(vector) => (Kind::Base, of(vector)),
        LogEntry::Opening(reports) | LogEntry::Leg(reports) => {
            let round = reports.iter().map(|r| r.peek().header.round).max();
            let call = reports.first().map(|r| r.peek().header.call);
            let of = call.zip(round).map(|(call, round)| (call.number(), call.members(), round));
            (if matches!(entry, LogEntry::Leg(_)) { Kind::Leg } else { Kind::Opening }, of)
        }
        LogEntry::Bodies { round, bodies } => {
            listed.round = Some(*round);
            for body in bodies {
                let request = Request::from_body(&body.request).ok();
                let digest = request.as_ref().map(|r| r.digest(context, &body.client));
                if request.is_none() {
                    let (what, at) = ("a request that cannot be read", 0);
                    listed.problems.push(Problem::Unreadable { what, at });
                }
                listed.requests.push((digest.unwrap_or(Digest::ZERO), body.clone(), request));
            }
            (Kind::Bodies, None)
        }
        LogEntry::Undone { epoch, .. } => {
            listed.epoch = Some(*epoch);
            (Kind::Undone, None)
        }
        LogEntry::Own(own) => (Kind::Own, of(std::slice::from_ref(own))),
    };
    listed.kind = of.0;
    if let Some((epoch, members, round)) = of.1 {
        (listed.epoch, listed.members, listed.round) = (Some(epoch), members, Some(round));
    }
    listed.entry = Some(entry);
    listed
}

/// A snapshot on disk.
#[derive(Clone, Debug)]
pub struct SnapshotSurvey {
    /// The round of its checkpoint.
    pub round: u64,
    /// Bytes of it, or what is damaged.
    pub whole: Result<u64, SnapshotError>,
}

/// Reads all snapshots to their ends, newest first.
///
/// # Errors
/// If the disk fails, or they belong to somebody else.
pub fn survey_snapshots<D: Disk>(
    disk: &mut D,
    owner: Digest,
    chunk_bytes: usize,
) -> Result<Vec<SnapshotSurvey>, SnapshotError> {
    let mut snapshots = Snapshots::open(disk, owner, chunk_bytes)?;
    let mut out = Vec::new();
    for round in snapshots.list() {
        let whole = match snapshots.check(disk, round) {
            Ok(saved) => Ok(saved.length),
            Err(e @ SnapshotError::Damaged { .. }) => Err(e),
            Err(e) => return Err(e),
        };
        out.push(SnapshotSurvey { round, whole });
    }
    Ok(out)
}
