//! Receipts: what shows anybody what the service answered (docs/protocol.md §6,
//! docs/receipts.md). [`judge`] says what one proves, [`assemble`] makes one of what replicas
//! give, [`ReceiptFile`] is what people keep.
//!
//! # What is believed
//!
//! Nothing but signatures of `t + 1` or more different replicas of the roster, each with the key
//! that it has in the generation that its statement names. From them everything is calculated:
//!
//! 1. The request's digest covers cluster, group, client, session, number, low-water mark and
//!    body. With the index and the hash of the outcome it makes a leaf.
//! 2. The path leads from the leaf to a root, and from `before`, the step's vector and that root
//!    follows the running root after the step. Each later step gives the next running root.
//! 3. Each header is signed, and attests one of these running roots at its position.
//!
//! # Why no `t` liars make one for an output that was not given
//!
//! One of `t + 1` signers is honest: it has executed a history of which the running root that it
//! attests is the hash. Hashes of different kinds differ (domains), and each covers all that goes
//! into it at fixed places, so whoever leads another history to that root has found a collision.
//! Going back from the honest signer's step:
//!
//! - *`before`, `later` and step roots*, chosen at will, are those of the honest history. A root of
//!   zero is a step without requests, and no path leads to zero.
//! - *Paths.* A leaf is hashed as a leaf and a node as a node, so what a path begins with is a leaf
//!   of the honest tree. The index is in the leaf, and the place in the path must be the same. The
//!   *number of leaves* only says how the path goes: 5 and 8 of them give one path for the first
//!   leaf. It proves nothing, and nobody should show it.
//! - *Void requests, repeats, and numbers of other requests* have a leaf whose output is zero. No
//!   outcome has the hash zero, so there is no receipt of them; the one of a repeat is that of the
//!   execution before. A refusal has an outcome and a receipt. It may be followed by an execution
//!   of the same request, at another position: then both receipts are true.
//! - *Rounds.* A running root covers vectors but no rounds. Rounds are numbered without gaps over
//!   all epochs, and each has one step. So the rounds of a receipt follow one another, and the one
//!   that the honest signer attests says what all others are.
//! - *Epochs that never were*, with lists of liars alone: lists count for nothing. How many must
//!   have signed follows from the roster, and who is honest signs in no such epoch. The epochs of
//!   two headers may differ; an honest one attests what it executed, whatever the epoch.
//! - *Other generations.* A key that was replaced counts for generations before that, always. It is
//!   one place of the roster: who still has it is one liar, and the place counts once.
//! - *Statements of other clusters and groups* have other signed bytes.
//!
//! # What one that is `strong` proves
//!
//! `majority` proves that an honest replica has executed it there. Should Δ have been broken that
//! may have been given up later, so two of them can contradict each other. `strong` counts only
//! headers whose signers had given up nothing yet when they signed (`rolled`). Two sets of so many
//! have `t + 1` in common, one of them honest. It says `rolled` in all that it signs after it gave
//! up something that it had executed. So it had given up nothing between its two headers: what one
//! of them attests is a beginning of what the other attests, or the same. Hence no two strong
//! receipts name two vectors for a round, or two outputs for a place. That ends where an operator
//! readmits a replica that had said `rolled` (M3), and with disks that were lost (§7).
//!
//! # What is not proven
//!
//! That the answer is the newest one, or that the client asked at any time by the clock. Who holds
//! the keys of more than `t` places, of whatever generations, can write what they like.

mod assemble;
mod file;

pub use assemble::assemble;
pub use file::{MAX_RECEIPT_FILE, ReceiptFile, ReceiptFileError, roster_hash};

use crate::crypto::{Context, Domain, Keyring, Leaf, Scheme, Verified, VerifyError};
use crate::crypto::{hash, running_root};
use crate::types::plant::planted;
use crate::types::{Assurance, Digest, Ensemble, Epoch, Members, ReplicaId, RequestId, Round};
use crate::wire::{DecodeError, Header, MAX_LATER_STEPS, Outcome, Receipt, StepPosition};
use std::fmt;

/// A step that a receipt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownStep {
    /// Its position.
    pub position: StepPosition,
    /// The root of its tree of outputs; zero if it had no requests.
    pub root: Digest,
    /// The running root after it.
    pub running: Digest,
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// How much agreement it shows.
    pub assurance: Assurance,
    /// Who attests it. Only these count.
    pub signers: Members,
    /// Who of these had given up something that it had executed: they do not count for `strong`.
    pub rolled: Members,
    /// Who of these saw Δ hold right before it signed.
    pub delta_held: Members,
    /// Who signed as well, with a key of which only the receipt says that it is theirs.
    pub unknown: Members,
    /// Which request.
    pub request: RequestId,
    /// Its digest.
    pub digest: Digest,
    /// The step that executed it.
    pub position: StepPosition,
    /// Its index in that step.
    pub index: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// That step, and those after it up to the last one that is attested.
    pub steps: Vec<ShownStep>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// There is nothing to make one of.
    #[error("no replica gave a proof; ask those that executed it, soon after the answer")]
    NoProof,
    /// What became of the request is no outcome.
    #[error("what it says became of the request cannot be read ({0})")]
    Outcome(DecodeError),
    /// The path belongs to another place of the step.
    #[error("its path begins at place {place} of the step, but the reply has the index {index}")]
    Place {
        /// Where the path begins.
        place: u32,
        /// The index of the reply.
        index: u32,
    },
    /// The path is too short or too long.
    #[error("its path has {siblings} hashes, which leads nowhere from place {place} of {leaves}")]
    Path {
        /// Where it begins.
        place: u32,
        /// How many leaves it speaks of.
        leaves: u32,
        /// How many hashes it has.
        siblings: usize,
    },
    /// Steps that do not follow one another.
    #[error("round {after} follows round {before} in it: a step is missing or misplaced")]
    Rounds {
        /// The round of a step.
        before: Round,
        /// The round of the next one.
        after: Round,
    },
    /// More steps than a receipt may have.
    #[error("it goes on over {0} later steps, which is more than {MAX_LATER_STEPS}")]
    TooLong(usize),
    /// A replica is in it twice.
    #[error("{0} is in it twice, and counts once")]
    Twice(ReplicaId),
    /// A header is not signed by whom it names.
    #[error("the attestation of {replica} does not stand: {why}")]
    Signature {
        /// Who is said to have signed.
        replica: ReplicaId,
        /// What is wrong.
        why: VerifyError,
    },
    /// A header of somebody who is not in the list that it names.
    #[error("{replica} signed in epoch {epoch} of {members}, which has no {replica}: it lies")]
    NotMember {
        /// Who.
        replica: ReplicaId,
        /// The epoch.
        epoch: Epoch,
        /// The list.
        members: Members,
    },
    /// A header attests a round that is not in the receipt.
    #[error("{replica} attests round {round}, and the receipt has rounds {first} to {last}")]
    Elsewhere {
        /// Who.
        replica: ReplicaId,
        /// What round.
        round: Round,
        /// The first that the receipt has.
        first: Round,
        /// The last.
        last: Round,
    },
    /// A header attests another vector for a round.
    #[error("{replica} attests vector {attested} at round {round}, where the receipt has {shown}")]
    Vector {
        /// Who.
        replica: ReplicaId,
        /// What round.
        round: Round,
        /// What it attests.
        attested: Digest,
        /// What the receipt says.
        shown: Digest,
    },
    /// A header attests other outputs up to a round.
    #[error(
        "{replica} attests running root {attested} at round {round}, but the receipt leads to \
         {shown}: client, request, outcome, or a hash on the way is not what {replica} executed"
    )]
    Running {
        /// Who.
        replica: ReplicaId,
        /// What round.
        round: Round,
        /// What it attests.
        attested: Digest,
        /// Where the receipt leads.
        shown: Digest,
    },
    /// Too few have signed.
    #[error(
        "{have} of {n} replicas attest it, and it takes {need}{}",
        others(.unknown)
    )]
    TooFew {
        /// How many.
        have: usize,
        /// Of how many.
        n: usize,
        /// How many it takes.
        need: usize,
        /// Who signed with a key that is not known.
        unknown: Members,
    },
    /// It is valid, and shows less agreement than was asked for.
    #[error(
        "it is valid, but no more than majority: strong takes {need} replicas of {n} that had \
         given up nothing, and it has {have}{}",
        given_up(.rolled)
    )]
    NotStrong {
        /// How many count for `strong`.
        have: usize,
        /// Of how many.
        n: usize,
        /// How many it takes.
        need: usize,
        /// Who signed, but had given up something.
        rolled: Members,
    },
}

fn others(unknown: &Members) -> String {
    match unknown.is_empty() {
        true => String::new(),
        false => format!(
            "; {unknown} signed with keys that they got later: give --config the cluster file \
             that lists these, or the roster hash of after that"
        ),
    }
}

fn given_up(rolled: &Members) -> String {
    match rolled.is_empty() {
        true => String::new(),
        false => format!("; {rolled} had given up something"),
    }
}

/// Judges a receipt by the keys of a roster.
///
/// # Errors
/// [`ReceiptError`] says what does not fit. One part that does not, and all is refused.
pub fn judge<S: Scheme>(receipt: &Receipt, keyring: &Keyring<S>) -> Result<Judged, ReceiptError> {
    judge_by(receipt, keyring, |_, _| true)
}

/// [`judge`], where keys count only if they are known from elsewhere than the receipt.
fn judge_by<S: Scheme>(
    receipt: &Receipt,
    keyring: &Keyring<S>,
    is_known: impl Fn(ReplicaId, u32) -> bool,
) -> Result<Judged, ReceiptError> {
    let outcome = Outcome::parse(&receipt.outcome).map_err(ReceiptError::Outcome)?;
    let steps = way(receipt, &keyring.context())?;
    let ensemble = keyring.ensemble();
    let [mut signers, mut rolled, mut delta_held, mut unknown] = [Members::NONE; 4];
    let (mut seen, mut have) = (Members::NONE, 0);
    let mut need = ensemble.majority();
    for signed in &receipt.proof.signed {
        let replica = signed.peek().replica;
        if seen.contains(replica) && !planted("s6-signer-counts-twice") {
            return Err(ReceiptError::Twice(replica));
        }
        let header = signed.verify_ref(keyring);
        let header = header.map_err(|why| ReceiptError::Signature { replica, why })?;
        attests(&header, &steps)?;
        seen.insert(replica);
        if planted("s6-list-believed") {
            need = need.min(header.members.len() / 2 + 1);
        }
        if !is_known(replica, header.epoch.generation) && !planted("s6-any-key-counts") {
            unknown.insert(replica);
            continue;
        }
        have += 1;
        signers.insert(replica);
        let Header { attestation, .. } = header.message();
        if attestation.rolled {
            rolled.insert(replica);
        }
        if attestation.delta_held {
            delta_held.insert(replica);
        }
    }
    if have < need {
        return Err(ReceiptError::TooFew { have, n: ensemble.n(), need, unknown });
    }
    let Receipt { client, request, proof, .. } = receipt;
    Ok(Judged {
        assurance: assurance(ensemble, signers, rolled),
        signers,
        rolled,
        delta_held,
        unknown,
        request: RequestId { client: *client, session: request.session, number: request.number },
        digest: request.digest(&keyring.context(), client),
        position: proof.position,
        index: proof.index,
        outcome,
        steps,
    })
}

fn assurance(ensemble: Ensemble, signers: Members, rolled: Members) -> Assurance {
    let steady = match planted("s6-rolled-is-strong") {
        true => signers,
        false => signers.minus(rolled),
    };
    match steady.len() >= Assurance::Strong.needs(ensemble) {
        true => Assurance::Strong,
        false => Assurance::Majority,
    }
}

/// The steps that a receipt shows, each with the running root that follows from it.
fn way(receipt: &Receipt, context: &Context) -> Result<Vec<ShownStep>, ReceiptError> {
    let Receipt { client, request, outcome, proof } = receipt;
    let (path, index) = (&proof.path, proof.index);
    let digest = request.digest(context, client);
    let leaf_index = match planted("s6-index-unbound") {
        true => path.place,
        false if path.place != index => {
            return Err(ReceiptError::Place { place: path.place, index });
        }
        false => index,
    };
    let leaf = Leaf { request: digest, index: leaf_index, output: hash(Domain::Output, outcome) };
    let Some(root) = path.root(&leaf) else {
        let (place, leaves, siblings) = (path.place, path.leaves, path.siblings.len());
        return Err(ReceiptError::Path { place, leaves, siblings });
    };
    if proof.later.len() > MAX_LATER_STEPS {
        return Err(ReceiptError::TooLong(proof.later.len()));
    }
    let position = proof.position;
    let running = running_root(&proof.before, &position.vector, &root);
    let mut steps = vec![ShownStep { position, root, running }];
    let mut last = steps[0];
    for later in &proof.later {
        let (before, after) = (last.position.round, later.position.round);
        let follows = match planted("s6-rounds-apart") {
            true => after > before,
            false => before.0.checked_add(1) == Some(after.0),
        };
        if !follows {
            return Err(ReceiptError::Rounds { before, after });
        }
        let running = running_root(&last.running, &later.position.vector, &later.root);
        last = ShownStep { position: later.position, root: later.root, running };
        steps.push(last);
    }
    Ok(steps)
}

/// Whether a signed header attests one of these steps.
fn attests(header: &Verified<Header>, steps: &[ShownStep]) -> Result<(), ReceiptError> {
    let Header { replica, epoch, members, attestation, .. } = header.message();
    let (replica, position) = (*replica, attestation.position);
    if !members.contains(replica) {
        return Err(ReceiptError::NotMember { replica, epoch: *epoch, members: *members });
    }
    let round = position.round;
    let Some(step) = steps.iter().find(|step| step.position.round == round) else {
        let first = steps.first().map_or(round, |s| s.position.round);
        let last = steps.last().map_or(round, |s| s.position.round);
        return Err(ReceiptError::Elsewhere { replica, round, first, last });
    };
    if step.position != position {
        let (attested, shown) = (position.vector, step.position.vector);
        return Err(ReceiptError::Vector { replica, round, attested, shown });
    }
    if step.running != attestation.running {
        let (attested, shown) = (attestation.running, step.running);
        return Err(ReceiptError::Running { replica, round, attested, shown });
    }
    Ok(())
}

/// In what two receipts cannot both be of one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// They name two vectors for a round.
    Vectors(Round),
    /// They name other outputs of a step, or of what came before it.
    Outputs(Round),
    /// A number of a session was executed at two places, or with two outcomes.
    Twice(RequestId),
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vectors(round) => write!(f, "two vectors were committed in round {round}"),
            Self::Outputs(round) => write!(f, "up to round {round} other outputs were given"),
            Self::Twice(id) => write!(f, "{id} was executed twice"),
        }
    }
}

impl Judged {
    /// Refuses one that shows less agreement than is wanted.
    ///
    /// # Errors
    /// [`ReceiptError::NotStrong`] says what is lacking.
    pub fn at_least(&self, wanted: Assurance, ensemble: Ensemble) -> Result<(), ReceiptError> {
        if self.assurance >= wanted {
            return Ok(());
        }
        let have = self.signers.minus(self.rolled).len();
        let (n, need) = (ensemble.n(), wanted.needs(ensemble));
        Err(ReceiptError::NotStrong { have, n, need, rolled: self.rolled })
    }

    /// In what this and another one of the same group contradict each other. Two that are valid
    /// show that more than `t` replicas lied, or that Δ was broken and not both are `strong`.
    ///
    /// That a number is executed once in a session is said of sessions that were never evicted.
    pub fn contradicts(&self, other: &Judged) -> Option<Contradiction> {
        for step in &self.steps {
            let round = step.position.round;
            let Some(theirs) = other.steps.iter().find(|s| s.position.round == round) else {
                continue;
            };
            if theirs.position != step.position {
                return Some(Contradiction::Vectors(round));
            }
            if (theirs.root, theirs.running) != (step.root, step.running) {
                return Some(Contradiction::Outputs(round));
            }
        }
        let is_run = |j: &Judged| !matches!(j.outcome, Outcome::Refused(_));
        let what = |j: &Judged| (j.position, j.index, j.digest, j.outcome.to_bytes());
        let twice = self.request == other.request
            && is_run(self)
            && is_run(other)
            && what(self) != what(other);
        twice.then_some(Contradiction::Twice(self.request))
    }
}

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod liars_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
