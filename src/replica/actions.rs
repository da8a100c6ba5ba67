//! Everything that a replica asks of its driver, as data.

use super::{Encoding, Late};
use crate::crypto::PublicKey;
use crate::types::{AgreedTime, Digest, Epoch, LinkId, Members, ReplicaId, RequestId, Round};
use crate::wire::StepPosition;
use bytes::Bytes;
use std::time::Duration;

/// Which of the two streams of a replica link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Proposals, wants, pings: never waits behind anything else.
    Protocol,
    /// Bodies and state transfer, at lower priority.
    Bulk,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a whole frame to a replica; dropped if its link is down.
    ToPeer {
        /// To whom.
        peer: ReplicaId,
        /// On which stream.
        lane: Lane,
        /// The frame with its header.
        frame: Bytes,
    },
    /// Send a whole frame to a client; dropped if its link is down.
    ToClient {
        /// On which link.
        link: LinkId,
        /// The frame with its header.
        frame: Bytes,
    },
    /// Close the link to a replica.
    ClosePeer {
        /// Which.
        peer: ReplicaId,
        /// Why; the other side is told.
        reason: CloseReason,
    },
    /// Close a client's link.
    CloseClient {
        /// Which.
        link: LinkId,
        /// Why; the other side is told.
        reason: CloseReason,
    },
    /// Append these records to the disk, make them durable, and then give
    /// [`super::Input::Synced`] (§7).
    Persist {
        /// 1, 2, 3, ... since this start of the replica.
        sequence: u64,
        /// The records, in order.
        records: Vec<Bytes>,
    },
    /// Append these entries to the log of rounds, make them durable, and then give
    /// [`super::Input::Synced`] (§7). Entries have places without gaps, the first 0; those that
    /// were found at the start keep theirs.
    Append {
        /// One count with that of [`Action::Persist`].
        sequence: u64,
        /// The entries, in order.
        entries: Vec<Bytes>,
        /// Whether something waits for it. Otherwise it may be made durable with the next write
        /// that is waited for, or when there is none for a while: a sync is saved.
        urgent: bool,
    },
    /// Do this work ([`Encoding::run`]), beside the loop since that takes long, and then give
    /// [`super::Input::Encoded`].
    Encode {
        /// What names it: 1, 2, 3, ... since this start of the replica.
        number: u64,
        /// The state, and what is wanted of it.
        work: Encoding,
    },
    /// Save this snapshot, make it durable, and then give [`super::Input::Synced`]. Older ones, but
    /// for as many as are to be kept, and what of the log none of these needs, may go then.
    /// [`super::Input::Synced`] of later writes may come first if the log reaches `first`; if it
    /// does not, nothing can be appended before.
    Save {
        /// One count with that of [`Action::Persist`].
        sequence: u64,
        /// The round of its checkpoint.
        round: Round,
        /// The place of the log's entry that follows it.
        first: u64,
        /// What attests it.
        head: Bytes,
        /// The state.
        state: Bytes,
    },
    /// Start again, as a new process on this disk would: all that was written is durable. Nothing
    /// more comes from this replica.
    StartAgain,
    /// Keep this as a file, for people: evidence that somebody lies (§6).
    Evidence {
        /// The file's name, without a directory.
        name: String,
        /// What goes into it.
        bytes: Bytes,
    },
    /// Write these words to where people find them, and do not start on this disk again before an
    /// operator has taken them away: the service is not deterministic (§6).
    KeepHalted {
        /// What to write.
        words: String,
    },
    /// From now on the link to a replica has to show this key, or there must be none: it is being
    /// replaced (M3). A link that shows another one is to be closed.
    Pin {
        /// Which.
        replica: ReplicaId,
        /// The key.
        key: Option<PublicKey>,
    },
    /// Write into the mark that the disk is [`crate::types::DiskState::Known`], and make that
    /// durable, before any action that follows is done: from now on something may be signed that
    /// must not be forgotten (§7). Once in the life of a disk.
    MarkKnown,
    /// Something that people should know.
    Event(Event),
}

/// Why a link is closed by a replica itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// A frame that is no message, or not one for this kind of link.
    #[error("malformed or unexpected message: {0}")]
    Malformed(&'static str),
    /// Statements that are not signed by whom they claim.
    #[error("a message whose signature does not fit")]
    BadSignature,
    /// More links of one client key than the quota allows.
    #[error("too many links of one client key")]
    TooManyLinks,
}

/// What a driver logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The disk is empty, and others have run rounds with this replica: it does nothing any more.
    /// Its driver ends it, and says that it is to be started with [`DiskState::Replaced`], so that
    /// it signs nothing which contradicts what was signed on the disk that is lost (§7).
    ///
    /// [`DiskState::Replaced`]: crate::types::DiskState::Replaced
    DiskLost,
    /// The replica was in an epoch before it started: it follows and signs nothing in that (§7).
    Restarted,
    /// The state was taken up from the disk.
    Recovered(Box<Recovered>),
    /// What was executed here after a round is not what the others have gone on with: it is given
    /// up, which nobody can have accepted, and the replica starts again from its disk (§7).
    Undone {
        /// The last round that stays.
        after: Round,
        /// Whether anything was executed after it, and so may have been answered or attested.
        ran: bool,
        /// The epoch that the others go over to.
        epoch: Epoch,
    },
    /// This replica blames another for keeping a step from completing (E1).
    Blamed {
        /// Whom.
        accused: ReplicaId,
        /// In which epoch.
        epoch: Epoch,
        /// In which round; `None`: for a Report that is missing.
        round: Option<Round>,
        /// Whether before `patience` was over: its budget for being late is spent.
        spent: bool,
    },
    /// A proof that a replica lied is known (§6).
    Proven {
        /// Who.
        replica: ReplicaId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// A call for another epoch is taken: until that is entered everything rests (E4).
    Called {
        /// The epoch's number.
        epoch: Epoch,
        /// Who is to be a member.
        members: crate::types::Members,
        /// Who is accused.
        accused: crate::types::Members,
    },
    /// An epoch is entered (E6).
    Entered {
        /// Which.
        epoch: Epoch,
    },
    /// An epoch's opening is committed (E7).
    Epoch {
        /// Which.
        epoch: Epoch,
        /// Its members.
        members: crate::types::Members,
    },
    /// A replica is a member no longer.
    Excluded {
        /// Who.
        replica: ReplicaId,
        /// From which epoch on.
        epoch: Epoch,
        /// Why (F3).
        why: crate::ordering::Reason,
        /// When it may join again (M4); of no meaning for one that lied.
        may_join: AgreedTime,
        /// Whether an operator keeps it out (M2).
        kept_out: bool,
    },
    /// A replica is a member again.
    Joined {
        /// Who.
        replica: ReplicaId,
        /// From which epoch on.
        epoch: Epoch,
    },
    /// This replica says that nothing gets on (E8).
    Stalled {
        /// Status changes so far.
        generation: u32,
        /// Resets since the last of these.
        resets: u32,
    },
    /// This replica asks to be a member again (M1).
    Joining {
        /// The round that it has reached.
        round: Round,
    },
    /// A status change was accepted (M1 to M3).
    Change {
        /// Whom it is about.
        replica: ReplicaId,
        /// What.
        what: &'static str,
        /// Why it is void, if it is.
        void: Option<&'static str>,
    },
    /// A round does not complete because these members' proposals are missing.
    Waiting {
        /// The round.
        round: Round,
        /// Who is missing.
        missing: crate::types::Members,
    },
    /// A round that was waited for has completed.
    Resumed {
        /// The round.
        round: Round,
    },
    /// A replica signed two different proposals for one round (R5).
    Equivocation {
        /// Who.
        replica: ReplicaId,
        /// In which epoch.
        epoch: Epoch,
        /// In which round.
        round: Round,
    },
    /// A replica signed a proposal that is invalid by R4.
    InvalidProposal {
        /// Who.
        replica: ReplicaId,
        /// In which round.
        round: Round,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A checkpoint is attested by `t + 1` replicas.
    Stable {
        /// Its round.
        round: Round,
        /// The state digest.
        state: Digest,
    },
    /// This replica's attestation differs from that of others at one position.
    Diverged {
        /// The other.
        replica: ReplicaId,
        /// The round of the position.
        round: Round,
    },
    /// This replica cannot go on from what it has: it fetches a snapshot from another (§7).
    SnapshotWanted,
    /// A snapshot was fetched and taken in.
    SnapshotInstalled {
        /// The round of its checkpoint: the replica goes on from there.
        round: Round,
        /// Its size.
        bytes: u64,
        /// Whose pieces it was made of.
        from: Members,
    },
    /// A source of a snapshot was put aside for a while; others are asked.
    SnapshotRefused {
        /// The source.
        from: ReplicaId,
        /// What was wrong with it or its snapshot.
        why: &'static str,
        /// Whether no good replica does that; else it was silent or slow. Nothing of it is
        /// signed: it convicts nobody.
        lied: bool,
    },
    /// Of what is measured of Δ, one in a thousand took more than half of it. Told once in ten
    /// minutes for each.
    DeltaNear {
        /// What takes so long.
        who: Late,
        /// What 999 of 1000 did not exceed.
        took: Duration,
    },
    /// Δ was exceeded: what is promised only if it holds is not promised now (§1).
    DeltaBroken {
        /// By what.
        who: Late,
        /// How long it took, or how long it was waited for in vain so far.
        took: Duration,
        /// Whether it came at last. What did not may be of a replica that has stopped.
        answered: bool,
    },
    /// `t + 1` others attest something else than this replica: it has given up its state, answers
    /// nobody, and fetches theirs (§6).
    Quarantined {
        /// The round of the step or checkpoint at which it shows.
        round: Round,
        /// How often that was within the last hour.
        times: u32,
    },
    /// After that the state of the others is taken up: this replica answers again.
    Released {
        /// The round of its checkpoint.
        round: Round,
    },
    /// The service is not deterministic, so that all have halted; what was found out since.
    Nondeterministic {
        /// In words: the first command with different results, and who has which.
        words: String,
    },
    /// The replica has stopped itself.
    Halted {
        /// Why.
        why: String,
    },
    /// What a step executed, for checkers; only if the set-up asks for it.
    Step {
        /// What it was.
        trace: Box<StepTrace>,
        /// Whether its outcomes may be told to clients. Otherwise another epoch is known already,
        /// whose opening can make some of it void (E4, O7).
        told: bool,
    },
}

/// What was found on the disk at a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The round of the snapshot that it began with; 0 without one.
    pub snapshot: Round,
    /// The last round that was executed again.
    pub round: Round,
    /// Entries of the log that were read.
    pub entries: u64,
    /// What is damaged or missing, if anything is: what came after it is fetched from others.
    pub damage: Option<String>,
    /// What was executed again, for checkers; only if the set-up asks for it.
    pub steps: Vec<StepTrace>,
}

/// An executed step in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTrace {
    /// The committed vector.
    pub position: StepPosition,
    /// Its agreed time.
    pub time: AgreedTime,
    /// What ran, in order.
    pub entries: Vec<TraceEntry>,
    /// The running root after it.
    pub running: Digest,
    /// If it was a checkpoint: the digest of the whole state.
    pub checkpoint: Option<Digest>,
}

/// An executed request in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Its place in the step; void requests have places, too, and no entries.
    pub index: u32,
    /// The request's digest.
    pub digest: Digest,
    /// Its name.
    pub request: RequestId,
    /// The clock part of its unique id.
    pub uid_clock: u64,
    /// Its body.
    pub body: Bytes,
    /// Its outcome's bytes; empty for one that gets nothing.
    pub outcome: Bytes,
    /// Whether it ran now, and not before.
    pub fresh: bool,
}

/// A list of actions in the order in which to do them.
pub type Actions = Vec<Action>;
