//! Reports (E5): what one is made of, and what must hold of one that counts.

use super::opening::opening_hash;
use crate::crypto::{Keyring, Scheme, Verified};
use crate::proof;
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{Header, Report, ReportHeader, vector_hash};
use std::ops::Deref;

/// A Report whose signature and everything that it carries has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    signed: Verified<Report>,
    /// The complete vector that it names.
    pub(in crate::ordering) vector: Option<NamedVector>,
    /// Replicas that its proofs convict, with the generation of each proof's epoch.
    pub(in crate::ordering) proofs: Vec<(ReplicaId, u32)>,
    pub(in crate::ordering) convicted: Members,
    /// The hashes of the Reports that opened the epoch entered; none for the first epoch.
    pub(in crate::ordering) certified: Vec<Digest>,
}

/// A complete vector as a Report names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ordering) struct NamedVector {
    pub(in crate::ordering) round: Round,
    /// The hashes of its proposals in member order.
    pub(in crate::ordering) hashes: Vec<Digest>,
    /// What they all chose.
    pub(in crate::ordering) choice: Vec<Digest>,
    /// The vector's hash.
    pub(in crate::ordering) digest: Digest,
}

impl Deref for Checked {
    type Target = Report;

    fn deref(&self) -> &Report {
        self.signed.message()
    }
}

impl Checked {
    /// Checks all that a Report carries against the roster. What does not hold is no Report: it
    /// counts as missing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn new<S: Scheme>(
        signed: Verified<Report>,
        keyring: &Keyring<S>,
        max_candidates: u32,
    ) -> Result<Self, &'static str> {
        let report = signed.message();
        let header = &report.header;
        let call = header.call;
        let ensemble = keyring.ensemble();
        if !ensemble.all().includes(call.list)
            || !call.list.includes(call.accused)
            || call.members().len() < ensemble.majority()
        {
            return Err("a call that cannot be");
        }
        if !call.members().contains(header.replica) {
            return Err("a Report of a replica that is not to be a member");
        }
        if header.entered >= call.number() {
            return Err("an epoch entered that is not below the call's");
        }
        let certified = check_certificate(report, keyring)?;
        let vector = check_vector(report, keyring)?;
        check_attested(report, keyring)?;
        let mut proofs = Vec::new();
        for p in &report.proofs {
            let conviction = proof::convict(p, keyring, max_candidates)
                .map_err(|_| "a proof that proves nothing")?;
            proofs.push((conviction.replica, conviction.epoch.generation));
        }
        let convicted = proofs.iter().map(|(replica, _)| *replica).collect();
        Ok(Self { vector, proofs, convicted, certified, signed })
    }

    /// Its hash: what first rounds choose.
    pub fn digest(&self) -> Digest {
        self.signed.digest()
    }

    /// The signed message.
    pub fn signed(&self) -> &Verified<Report> {
        &self.signed
    }

    pub(in crate::ordering) fn message(&self) -> &Report {
        self.signed.message()
    }

    /// The epoch that it says it has entered last, with its members.
    pub(in crate::ordering) fn entered(&self) -> (Epoch, Members) {
        (self.header.entered, self.header.entered_members)
    }

    /// Whether it claims a complete vector of this round or later of that epoch, or of a later
    /// epoch (E2).
    pub(in crate::ordering) fn claims(&self, epoch: Epoch, round: Round) -> bool {
        (self.header.entered, self.header.round) >= (epoch, round)
    }

    /// Its header alone, as certificates carry it.
    pub(in crate::ordering) fn signed_header(&self) -> Verified<ReportHeader> {
        self.signed.header()
    }
}

/// E6: the certificate of an epoch is the headers of the Reports of all its members for one call.
/// From their hashes follows the opening's.
fn check_certificate<S: Scheme>(
    report: &Report,
    keyring: &Keyring<S>,
) -> Result<Vec<Digest>, &'static str> {
    let header = &report.header;
    if header.entered == Epoch::GENESIS {
        return match report.certificate.is_empty() {
            true if header.entered_members == keyring.ensemble().all() => Ok(Vec::new()),
            _ => Err("a certificate for the first epoch, which has none"),
        };
    }
    let signers: Vec<ReplicaId> = report.certificate.iter().map(|h| h.peek().replica).collect();
    if signers != header.entered_members.iter().collect::<Vec<_>>() {
        return Err("a certificate that is not of all members");
    }
    if signers.len() < keyring.ensemble().majority() {
        return Err("a certificate of too few");
    }
    let Some(first) = report.certificate.first().map(|h| h.peek().call) else {
        return Err("an empty certificate");
    };
    if first.number() != header.entered || first.members() != header.entered_members {
        return Err("a certificate of another epoch");
    }
    let mut hashes = Vec::with_capacity(signers.len());
    for one in &report.certificate {
        if one.peek().call != first {
            return Err("a certificate of two calls");
        }
        let verified = one.verify_ref(keyring);
        hashes.push(
            verified.map_err(|_| "a certificate with a signature that does not fit")?.digest(),
        );
    }
    match opening_hash(&keyring.context(), &first, &hashes) == header.opening {
        true => Ok(hashes),
        false => Err("an opening that does not follow from its certificate"),
    }
}

/// The vector named must be complete: one proposal of every member, all with one choice (R1).
fn check_vector<S: Scheme>(
    report: &Report,
    keyring: &Keyring<S>,
) -> Result<Option<NamedVector>, &'static str> {
    let header = &report.header;
    let Some(first) = report.vector.first().map(|h| h.peek()) else {
        return match header.round {
            Round(0) => Ok(None),
            _ => Err("a vector without its proposals"),
        };
    };
    let choice = first.choice.clone();
    let mut hashes = Vec::with_capacity(report.vector.len());
    for one in &report.vector {
        let p: &Header = one.peek();
        let fits = (p.epoch, p.members, p.round)
            == (header.entered, header.entered_members, header.round)
            && p.choice == choice;
        if !fits {
            return Err("a vector with a proposal that does not belong in it");
        }
        let verified =
            one.verify_ref(keyring).map_err(|_| "a vector with a signature that does not fit")?;
        hashes.push(verified.digest());
    }
    let signers = report.vector.iter().map(|h| h.peek().replica);
    if header.round == Round(0) || !signers.eq(header.entered_members.iter()) {
        return Err("a vector that is not of all members");
    }
    let digest = vector_hash(&keyring.context(), header.entered, header.round, &hashes);
    if digest != header.vector {
        return Err("a vector with another hash");
    }
    Ok(Some(NamedVector { round: header.round, hashes, choice, digest }))
}

/// The checkpoint named must be attested by t + 1 replicas.
fn check_attested<S: Scheme>(report: &Report, keyring: &Keyring<S>) -> Result<(), &'static str> {
    let header = &report.header;
    if header.checkpoint == Round(0) && report.attested.is_empty() {
        return Ok(());
    }
    let mut signers = Members::NONE;
    for one in &report.attested {
        let p = one.peek();
        if (p.attestation.checkpoint, p.attestation.state) != (header.checkpoint, header.state) {
            return Err("an attestation of another checkpoint");
        }
        one.verify_ref(keyring).map_err(|_| "an attestation whose signature does not fit")?;
        signers.insert(p.replica);
    }
    match signers.len() >= keyring.ensemble().majority() {
        true => Ok(()),
        false => Err("a checkpoint that too few attest"),
    }
}
