//! Proofs of lying (docs/protocol.md §6): what convicts a replica before anybody with the roster.
//!
//! A proof is two signed statements of one replica that an honest one never signs both, or a
//! single one that an honest one never signs. Nothing else goes into the judgement: no local
//! state, no time, no word of others. So everybody who has the proof and the roster's keys comes
//! to the same verdict, now or years later. [`convict`] is the judge, [`find`] looks for proofs
//! in what was verified already, [`ProofFile`] is what is kept for people. What shows a third
//! party that the service answered something is in [`receipt`].
//!
//! # What an honest replica may do
//!
//! The rules convict only what no honest replica signs, also over restarts on an undamaged disk:
//!
//! - It signs one proposal for each (epoch, round) and, in an epoch that it had entered before a
//!   restart, none any more (R2, §7). Within an epoch its candidates and its `now` only rise,
//!   since its own last proposal is in every chain that the next one chooses (R4).
//! - It signs one report for each number: written down before it is sent, and sent again as it is
//!   (E5).
//! - It signs nothing for an epoch below its promise (E4). So a proposal of it in an epoch below a
//!   report's number is older than the report; what it held then, it holds still, unless it
//!   restarted in between, and then the report says so.
//! - A replica that lost its disk does not know what it signed. It says that it restarted and signs
//!   nothing for numbers that it may have signed for; that is the business of the cores.
//!
//! Where signed bytes leave a doubt, they convict nobody. The tests run an honest replica through
//! random histories and demand that no two things that it signed convict it.

mod divergence;
mod file;
pub mod find;
pub mod receipt;
mod rules;
mod sealed;

pub use divergence::{
    Attested, DIVERGENCE_SUFFIX, Divergence, DivergenceError, DivergenceFile, MAX_DIVERGENCE_FILE,
};
pub use file::{MAX_PROOF_FILE, PROOF_SUFFIX, ProofFile, ProofFileError};

use crate::crypto::{Keyring, Scheme, Signable, Unverified, Verified, VerifyError};
use crate::types::{Epoch, ReplicaId};
use crate::wire::Proof;
use std::fmt;

/// Kinds of lies that can be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two proposals for one round of an epoch (R5).
    Equivocation,
    /// A proposal that goes back behind an earlier one of the same epoch (R4).
    Backwards,
    /// A proposal that no chain makes valid (R4).
    Invalid,
    /// Two reports for one number (E5).
    TwoReports,
    /// A report that claims less than a proposal of its signer chose (E5).
    FalseReport,
}

impl Kind {
    /// Its name in file names and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Equivocation => "equivocation",
            Kind::Backwards => "backwards",
            Kind::Invalid => "invalid",
            Kind::TwoReports => "two-reports",
            Kind::FalseReport => "false-report",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a proof proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conviction {
    /// Who lied.
    pub replica: ReplicaId,
    /// The epoch, or the number of the report, for which it signed the lie.
    pub epoch: Epoch,
    /// The kind of lie.
    pub kind: Kind,
    /// What exactly, for people: continues "R2 ...".
    pub what: &'static str,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A part of it is not signed by whom it names: then anybody may have made it.
    #[error("it proves nothing: {0}")]
    Signature(VerifyError),
    /// An honest replica may have signed this.
    #[error("it proves nothing: {0}")]
    Innocent(&'static str),
}

/// Judges a proof. `max_candidates` is the limit of the cluster's openings on candidates in one
/// proposal (R4).
///
/// # Errors
/// [`ProofError`] says why it proves nothing.
pub fn convict<S: Scheme>(
    proof: &Proof,
    keyring: &Keyring<S>,
    max_candidates: u32,
) -> Result<Conviction, ProofError> {
    let verdict = match proof {
        Proof::Equivocation(a, b) => {
            rules::equivocation(&checked(a, keyring)?, &checked(b, keyring)?)
        }
        Proof::Backwards(a, b) => rules::backwards(&checked(a, keyring)?, &checked(b, keyring)?),
        Proof::Invalid(a) => rules::invalid(&checked(a, keyring)?, max_candidates),
        Proof::TwoReports(a, b) => rules::two_reports(&checked(a, keyring)?, &checked(b, keyring)?),
        Proof::FalseReport(report, proposal) => {
            rules::false_report(&checked(report, keyring)?, &checked(proposal, keyring)?)
        }
        Proof::EmptyReport(report, proposal, chosen) => rules::empty_report(
            &checked(report, keyring)?,
            &checked(proposal, keyring)?,
            &checked(chosen, keyring)?,
        ),
    };
    verdict.map_err(ProofError::Innocent)
}

fn checked<T: Signable + Clone, S: Scheme>(
    part: &Unverified<T>,
    keyring: &Keyring<S>,
) -> Result<Verified<T>, ProofError> {
    part.verify_ref(keyring).map_err(ProofError::Signature)
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
