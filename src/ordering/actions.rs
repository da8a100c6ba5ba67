//! Everything that the ordering core asks for.

use super::epoch::{Checked, Opening};
use super::order::Order;
use super::roster::Standing;
use crate::crypto::{Domain, Verified, hash};
use crate::types::{AgreedTime, Call, Digest, Epoch, Members, ReplicaId, Root, Round, Uid};
use crate::wire::{
    Blame, BlameStep, Change, Evidence, Proof, Proposal, Restarted, SignedChange, Stalled,
    StepPosition, Want,
};
use bytes::Bytes;
use std::sync::Arc;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send one's own proposal to all n replicas (R2).
    Broadcast(Arc<Verified<Proposal>>),
    /// Send a proposal to one replica: on reconnection, or because it asked (R5).
    Send {
        /// To whom.
        to: ReplicaId,
        /// What.
        proposal: Arc<Verified<Proposal>>,
    },
    /// Ask all replicas (R5).
    Ask(Want),
    /// A vector is committed (R3): execute this step.
    Committed(Box<Step>),
    /// Say something of §5 to all replicas.
    TellAll(Statement),
    /// Say something of §5 to one replica.
    Tell {
        /// To whom.
        to: ReplicaId,
        /// What.
        what: Statement,
    },
    /// Show one who follows a part of the history; it may wait behind everything else.
    Show {
        /// To whom.
        to: ReplicaId,
        /// What.
        what: Statement,
    },
    /// Ask one replica for what was committed after a round.
    AskHistory {
        /// Whom.
        from: ReplicaId,
        /// After which.
        after: Round,
    },
    /// Tell one who asked that the history does not reach back so far: a snapshot does.
    Gone {
        /// Whom.
        to: ReplicaId,
    },
    /// Write these records down, synced, and then give [`super::Input::Synced`] (§7).
    Persist {
        /// 1, 2, 3, ...
        sequence: u64,
        /// What to write, in order.
        records: Vec<Bytes>,
    },
    /// Write this into the log of rounds (§7): what is answered rests on it. It is told before the
    /// steps that follow from it.
    Log(Logged),
    /// A call is taken (E4): execute and answer nothing until [`Action::Opened`]. Give
    /// [`super::Input::Lacks`]: which bodies are missing of these requests and of all that is
    /// ordered and not executed (E5).
    Count {
        /// Accepted and not ordered for execution yet.
        requests: Vec<Digest>,
    },
    /// An opening needs these bodies (O7): give [`super::Input::Bodies`] when all are here, and
    /// those of what is ordered and not executed, but for the void ones.
    NeedBodies {
        /// The opening.
        opening: Digest,
        /// Which, and who should have them.
        bodies: Vec<(Digest, Members)>,
        /// What is void once the opening is committed.
        void: Vec<Digest>,
    },
    /// An opening is committed (E7), after the steps of its base.
    Opened(Box<Opened>),
    /// What others still have of the history does not reach back to what was committed here: a
    /// snapshot has to be fetched. Its answer is [`super::Input::Install`].
    Behind,
    /// What was committed here is not what the others have gone on with: what follows in the log
    /// after this vector may be given up, and what stands before it executed again.
    Astray {
        /// The epoch and the round of the last vector that is in both histories; the round before
        /// the first of the epoch, if only its opening is. `None` if that is not known here: then
        /// only a state of the others helps.
        keep: Option<(Epoch, Round)>,
        /// The epoch that the others go over to.
        epoch: Epoch,
    },
    /// Something that people should know.
    Event(Event),
}

/// What belongs into the log of rounds; given to [`super::Core::replay`] in the same order it leads
/// to the same state.
#[derive(Clone, Debug)]
pub enum Logged {
    /// A complete vector, in member order: with it the one before is committed (R3).
    Vector(Vec<Arc<Verified<Proposal>>>),
    /// A vector that the next opening commits.
    Base(Vec<Arc<Verified<Proposal>>>),
    /// A committed opening (E7): the Reports that it follows from, in member order.
    Opening(Vec<Arc<Checked>>),
    /// An opening that the next one commits, which is entered but not committed yet.
    Leg(Vec<Arc<Checked>>),
    /// An own proposal, and with it the requests that it gives candidates. It leaves when
    /// [`super::Input::OwnDurable`] has said that it is durable.
    Own(Arc<Verified<Proposal>>),
}

/// What the core reports besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A round does not complete: these members' proposals have been missing for `patience`.
    Waiting {
        /// The round.
        round: Round,
        /// Who is missing.
        missing: Members,
    },
    /// A round that was waited for has completed.
    Resumed {
        /// The round.
        round: Round,
    },
    /// Two different proposals of one replica for one round (R5).
    Equivocation {
        /// One of them.
        first: Arc<Verified<Proposal>>,
        /// The other.
        second: Arc<Verified<Proposal>>,
    },
    /// A signed proposal that is invalid by R4.
    Invalid {
        /// The proposal.
        proposal: Arc<Verified<Proposal>>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk of this replica is empty, and rounds have run with it: it does nothing any more,
    /// until it is started as one whose disk was replaced (§7).
    DiskLost,
    /// This replica took part and its state is lost (§7).
    Restarted {
        /// The epoch that it was in.
        epoch: Epoch,
    },
    /// This replica blames another for keeping a step from completing (E1).
    Blamed {
        /// Whom.
        accused: ReplicaId,
        /// In which epoch.
        epoch: Epoch,
        /// For which step.
        step: BlameStep,
        /// Whether before `patience` was over: its budget is spent.
        spent: bool,
    },
    /// A proof that a replica lied is known (§6).
    Proven {
        /// Who.
        replica: ReplicaId,
        /// In which epoch.
        epoch: Epoch,
        /// The proof.
        proof: Arc<Proof>,
    },
    /// A call is taken (E4).
    Called {
        /// Which.
        call: Call,
    },
    /// An epoch is entered (E6).
    Entered {
        /// Which.
        epoch: Epoch,
        /// Its members.
        members: Members,
    },
    /// This replica says that nothing gets on in this root (E8).
    Stalled {
        /// Which.
        root: Root,
    },
    /// A state was taken over from others.
    Installed {
        /// Its epoch.
        epoch: Epoch,
        /// The last round in it.
        round: Round,
    },
    /// This replica asks to be a member again (M1).
    Joining {
        /// The round that it has reached.
        round: Round,
    },
}

/// What is said of §5 between replicas.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A proposal of whomever.
    Proposal(Arc<Verified<Proposal>>),
    /// E1.
    Blame(Arc<Verified<Blame>>),
    /// E2, §7.
    Restarted(Arc<Verified<Restarted>>),
    /// E8.
    Stalled(Arc<Verified<Stalled>>),
    /// E5.
    Report(Arc<Checked>),
    /// E4: a call and what it rests on.
    Call(Call, Vec<Evidence>),
    /// M1 to M3.
    Change(SignedChange),
}

/// An opening as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that it opens.
    pub epoch: Epoch,
    /// Its members.
    pub members: Members,
    /// Its first round.
    pub first: Round,
    /// The opening's hash.
    pub digest: Digest,
    /// What the order says of each replica from now on, by roster place.
    pub standings: Vec<Standing>,
    /// Who was a member before.
    pub before: Members,
    /// Requests whose bodies are lost (O7): they keep their places and have no effect.
    pub void: Vec<Digest>,
    /// The first round in whose step one of them stands, if one does: whoever has executed that
    /// has another state than the others now.
    pub first_void: Option<Round>,
}

impl Opened {
    pub(super) fn of(
        opening: &Opening,
        before: Members,
        order: &Order,
        (void, first_void): (Vec<Digest>, Option<Round>),
    ) -> Self {
        Self {
            epoch: opening.call.number(),
            members: opening.call.members(),
            first: order.round().next(),
            digest: opening.digest,
            standings: order.roster.standings.clone(),
            before,
            void,
            first_void,
        }
    }
}

/// What became of a status change that was accepted (M1 to M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeOutcome {
    /// Its digest.
    pub digest: Digest,
    /// What was asked for.
    pub change: Change,
    /// Why it is void, if it is.
    pub void: Option<&'static str>,
}

/// What the commit of one vector executes (O3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The committed vector.
    pub position: StepPosition,
    /// C of that vector: the time of all its requests (O5).
    pub time: AgreedTime,
    /// What to execute, in order.
    pub requests: Vec<Ordered>,
    /// Requests that were never accepted and are forgotten (O4), with those who had given them a
    /// candidate. Whoever gave one since, in a proposal that is not committed yet, keeps its body.
    pub forgotten: Vec<(Digest, Members)>,
    /// Candidates that a member's quota did not admit (O4): they are as if never given.
    pub over_quota: Vec<(ReplicaId, Digest)>,
    /// Status changes that were accepted in it (M1 to M3).
    pub changes: Vec<ChangeOutcome>,
    /// The committed vector's proposals, in member order: what the members attest is in them.
    pub proposals: Vec<Arc<Verified<Proposal>>>,
    /// At checkpoints: the ordering state after this vector.
    pub checkpoint: Option<Checkpoint>,
}

/// The ordering state at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The hash of `state`.
    pub digest: Digest,
    /// The state as bytes: equal states give equal bytes.
    pub state: Bytes,
}

impl Checkpoint {
    /// The checkpoint of this state.
    pub fn of(state: Bytes) -> Self {
        Self { digest: hash(Domain::State, &state), state }
    }
}

/// A request that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Which.
    pub digest: Digest,
    /// Its unique id (O2).
    pub uid: Uid,
    /// The round in which it was accepted.
    pub accepted: Round,
    /// Who has given it a candidate, and so holds its body (O7).
    pub holders: Members,
    /// Whether its body is lost, so that it has no effect (O7).
    pub void: bool,
}
