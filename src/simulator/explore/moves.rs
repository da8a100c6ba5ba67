//! What can happen next.

use super::world::DELTA;
use crate::crypto::Verified;
use crate::ordering::{Checked, Input};
use crate::types::{Epoch, ReplicaId, Round};
use crate::wire::{Proposal, SignedChange, Want};
use std::fmt;
use std::sync::Arc;

/// What travels between replicas.
#[derive(Clone, Debug)]
pub(super) enum Msg {
    Proposal(Arc<Verified<Proposal>>),
    Report(Arc<Checked>),
    /// Blames, Restarted, Stalled and proofs, alone or with a call.
    Evidence(Vec<Input>),
    Want(Want),
    WantHistory(Round),
    Change(SignedChange),
    Gone,
    /// The link is up; the other end holds this complete round.
    Up(Round),
}

/// One thing that can happen.
#[derive(Clone, Debug)]
pub enum Move {
    /// The next message of a link arrives, and if nothing more must, the replica goes on.
    Deliver {
        /// Who sent it.
        from: ReplicaId,
        /// Who gets it.
        to: ReplicaId,
    },
    /// A liar passes on a message before it arrives by itself.
    Relay {
        /// Who sent it.
        from: ReplicaId,
        /// Who gets it.
        to: ReplicaId,
        /// How many are before it.
        nth: usize,
    },
    /// A replica's timers that are due go off.
    Tick(ReplicaId),
    /// What a replica writes is on its disk.
    Sync(ReplicaId),
    /// A replica that asked for a state gets one.
    Transfer(ReplicaId),
    /// Time passes until something is due.
    Advance,
    /// From here on messages of this link take as long as they may.
    Slow {
        /// From whom.
        from: ReplicaId,
        /// To whom.
        to: ReplicaId,
        /// Or no longer.
        on: bool,
    },
    /// From here on this disk takes as long as it may, or no longer.
    SlowDisk(ReplicaId, bool),
    /// A replica stops.
    Crash(ReplicaId),
    /// It starts again.
    Restart(ReplicaId),
    /// It asks to leave.
    Leave(ReplicaId),
    /// A liar withholds its proposals from a replica from here on, or no longer.
    Withhold {
        /// Who.
        liar: ReplicaId,
        /// From whom.
        to: ReplicaId,
        /// Or no longer.
        on: bool,
    },
    /// A liar withholds its Reports.
    Mute {
        /// Who.
        liar: ReplicaId,
        /// From whom.
        to: ReplicaId,
        /// Or no longer.
        on: bool,
    },
    /// A liar says something.
    Say(Say),
    /// From here on nothing goes wrong, liars are silent, and there is a new request.
    Calm,
}

/// What a liar says to whom.
#[derive(Clone, Debug)]
pub struct Say {
    pub(super) liar: ReplicaId,
    pub(super) to: ReplicaId,
    pub(super) msg: Arc<Msg>,
    /// If it is what an honest replica would say: the step that it belongs to.
    pub(super) habit: Option<(Epoch, Round)>,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Deliver { from, to } => write!(f, "{to} gets what {from} sent"),
            Move::Relay { from, to, nth } => {
                write!(f, "a liar shows {to} number {nth} of what {from} sent")
            }
            Move::Tick(at) => write!(f, "{at}'s timers go off"),
            Move::Sync(at) => write!(f, "{at}'s disk has written"),
            Move::Transfer(at) => write!(f, "{at} gets a state"),
            Move::Advance => write!(f, "time passes"),
            Move::Slow { from, to, on: true } => write!(f, "{from} to {to} becomes slow"),
            Move::Slow { from, to, on: false } => write!(f, "{from} to {to} becomes fast"),
            Move::SlowDisk(at, true) => write!(f, "{at}'s disk becomes slow"),
            Move::SlowDisk(at, false) => write!(f, "{at}'s disk becomes fast"),
            Move::Crash(at) => write!(f, "{at} crashes"),
            Move::Restart(at) => write!(f, "{at} starts again"),
            Move::Leave(at) => write!(f, "{at} asks to leave"),
            Move::Withhold { liar, to, on: true } => write!(f, "{liar} withholds from {to}"),
            Move::Withhold { liar, to, on: false } => write!(f, "{liar} proposes to {to} again"),
            Move::Mute { liar, to, on: true } => write!(f, "{liar} reports nothing to {to}"),
            Move::Mute { liar, to, on: false } => write!(f, "{liar} reports to {to} again"),
            Move::Calm => write!(f, "from here on nothing goes wrong; a new request comes"),
            Move::Say(say) => write!(f, "{} tells {}: {}", say.liar, say.to, say.msg),
        }
    }
}

impl fmt::Display for Msg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Msg::Proposal(p) => write!(
                f,
                "P{}({},{}) now {} with {} candidates, choosing {}",
                p.replica.number(),
                p.epoch,
                p.round,
                p.now,
                p.candidates.len(),
                p.choice
                    .iter()
                    .map(|d| d.to_string()[..4].to_owned())
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            Msg::Report(r) => write!(
                f,
                "Report{} for {}: entered {}, {:?}{}",
                r.header.replica.number(),
                r.header.call,
                r.header.entered,
                r.header.round,
                if r.header.restarted { ", restarted" } else { "" }
            ),
            Msg::Evidence(all) => {
                let words: Vec<String> = all.iter().map(word).collect();
                write!(f, "[{}]", words.join(", "))
            }
            Msg::Want(w) => write!(f, "Want P{}({},{})", w.replica.number(), w.epoch, w.round),
            Msg::WantHistory(after) => write!(f, "WantHistory after {after:?}"),
            Msg::Change(c) => write!(f, "{:?}", c.change),
            Msg::Gone => write!(f, "Gone"),
            Msg::Up(round) => write!(f, "up at {round:?}"),
        }
    }
}

fn word(input: &Input) -> String {
    match input {
        Input::Blame(b) => {
            format!("Blame({},{:?},{}) by {}", b.epoch, b.step, b.accused, b.by)
        }
        Input::Blames(all) => {
            all.iter().map(|b| word(&Input::Blame(b.clone()))).collect::<Vec<_>>().join(", ")
        }
        Input::Restarted(r) => format!("Restarted({},{})", r.epoch, r.replica),
        Input::Stalled(s) => format!("Stalled{} by {}", s.root, s.replica),
        Input::Proof(_) => "a proof".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A time of the world for people, in Δ.
pub(super) fn in_delta(time: u64) -> String {
    format!("{}.{:02}Δ", time / DELTA, time % DELTA * 100 / DELTA)
}
