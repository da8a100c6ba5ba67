//! Changing the epoch: a round whose proposals are Reports (docs/protocol.md §5).
//!
//! # The change in prose
//!
//! A member that does not answer for `patience` is blamed (E1, `accuse.rs`). What `t + 1` replicas
//! blame on it, what it says of itself (*restarted*), or a proof of a lie, accuses it (E2). A
//! *call* names who is to go on without the accused, or with the members that ordered status
//! changes ask for, or, when nothing moves any more, with everybody (E3, `call.rs`). A replica that
//! takes a call freezes: it promises, on disk, never to sign, commit or answer anything of a lower
//! epoch again (E4). It writes and sends one Report for that call: how far it is (E5, `report.rs`).
//! The Reports of *all* members of the call give the opening of the new epoch: its base, the
//! highest vector that most of them chose (F1 to F3, `opening.rs`). Each member writes the opening
//! down and sends its first proposal, whose choice is those Reports (E6, `enter.rs`); when all
//! have, the opening is committed (E7), and rounds go on as ever. If that does not work out either,
//! replicas say that the root is *stalled*, and `t + 1` such words start over with everybody (E8).
//!
//! # Files
//!
//! `store.rs` keeps what was heard, within bounds; `build.rs` makes the state that an opening names
//! out of the chain here; `recover.rs` starts from what a disk holds; `follow.rs` brings a replica
//! that was away back (R7), `astray.rs` finds where what was committed here parts from what the
//! others have gone on with (§7), `join.rs` lets it join again (M1), and `amend.rs` lets it go on
//! from the Reports that members chose.

mod accuse;
mod amend;
mod astray;
mod build;
mod call;
mod enter;
mod follow;
mod join;
mod opening;
mod recover;
mod report;
mod resend;
mod store;

pub use opening::Opening;
pub use report::Checked;

pub(super) use build::Prepared;
pub(super) use follow::Following;
pub(super) use store::Store;

use super::rounds::Rounds;
use crate::crypto::Verified;
use crate::types::{Call, Digest, Ensemble, Epoch, Instant, Members, Root};
use crate::wire::ReportHeader;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Charge;

/// What a replica knows and does about the change of the epoch.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) store: Store,
    /// The highest call taken (E4). In an epoch that runs undisturbed: that epoch's call.
    pub(super) promise: Call,
    /// The hash of the opening of the first epoch.
    pub(super) genesis: Digest,
    /// The highest epoch entered (E6).
    pub(super) entered: Entered,
    pub(super) stage: Stage,
    /// The chains of earlier epochs, the latest last.
    pub(super) old: Vec<Chain>,
    /// The opening of the present chain; none for the first epoch's and for a state taken over.
    pub(super) opening: Option<Arc<Opening>>,
    /// What the opening of the present chain makes of the order, until it is committed (E7).
    pub(super) prepared: Option<Box<Prepared>>,
    /// Member lists that status changes were seen to ask for, by root (E3, E6).
    pub(super) lists: BTreeMap<Root, BTreeSet<Members>>,
    /// Whether somebody was blamed in the generation before that of the promise (E6).
    pub(super) blames_before: bool,
    /// The number of the last write to disk.
    pub(super) sequence: u64,
    /// The root that this replica has called stalled (E8).
    pub(super) stalled: Option<Root>,
    /// When something last got on: a complete step, a new promise (E8).
    pub(super) progress: Instant,
    /// What this replica has blamed on others in this root (E1): once each.
    pub(super) blamed: BTreeSet<Charge>,
    pub(super) resent_at: Instant,
    /// When the wait of E6 is over, while it keeps this replica from entering.
    pub(super) entry_at: Option<Instant>,
    /// Whether something was heard since calls were last considered.
    pub(super) dirty: bool,
    /// When calls were last considered: a second time in one instant, with nothing heard, tells
    /// nothing.
    pub(super) reviewed: Option<Instant>,
    /// This replica said that it restarted, and has not joined since.
    pub(super) restarted: Option<Epoch>,
    pub(super) following: Following,
}

/// An epoch that was entered, as Reports name it.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) epoch: Epoch,
    pub(super) members: Members,
    pub(super) opening: Digest,
    pub(super) certificate: Vec<Verified<ReportHeader>>,
}

/// The rounds of an epoch, with what opened it.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) rounds: Rounds,
    pub(super) opening: Option<Arc<Opening>>,
}

/// Where a replica is between two epochs.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Rounds run in the epoch entered.
    Running,
    /// A call was taken; the bodies that are lacking are being counted.
    Counting,
    /// A promise without a Report is being written: this replica is not to be a member.
    Promising { sequence: u64 },
    /// The promise and the Report are being written.
    Writing { report: Arc<Checked>, sequence: u64 },
    /// The Report is out since; the others' are awaited.
    Reporting { sent_at: Instant },
    /// The opening is known and the bodies that it needs are being fetched.
    Fetching { sent_at: Instant, opening: Digest },
    /// A follower has what opens the epoch and waits for its first vector.
    Waiting,
    /// The opening is being written.
    Opening { sequence: u64 },
}

impl Change {
    pub(super) fn new(ensemble: Ensemble, genesis: Digest, now: Instant) -> Self {
        let all = ensemble.all();
        let (epoch, certificate) = (Epoch::GENESIS, Vec::new());
        Self {
            store: Store::default(),
            promise: Call { root: epoch.root(), list: all, accused: Members::NONE },
            genesis,
            entered: Entered { epoch, members: all, opening: genesis, certificate },
            stage: Stage::Running,
            old: Vec::new(),
            opening: None,
            prepared: None,
            lists: BTreeMap::new(),
            blames_before: false,
            sequence: 0,
            stalled: None,
            progress: now,
            blamed: BTreeSet::new(),
            resent_at: now,
            entry_at: None,
            dirty: false,
            reviewed: None,
            restarted: None,
            following: Following::default(),
        }
    }

    /// E4: whether a call is promised whose epoch is not entered.
    pub(super) fn is_frozen(&self) -> bool {
        !matches!(self.stage, Stage::Running)
    }

    /// Since when the own Report is out and others' are awaited.
    pub(super) fn reporting_since(&self) -> Option<Instant> {
        match self.stage {
            Stage::Reporting { sent_at } | Stage::Fetching { sent_at, .. } => Some(sent_at),
            _ => None,
        }
    }
}

impl Chain {
    pub(super) fn is(&self, epoch: Epoch, members: Members) -> bool {
        self.rounds.epoch() == (epoch, members)
    }
}
