//! Makes one receipt of what several replicas gave for it, some of which may lie.

use super::{Judged, ReceiptError, ShownStep, assurance, attests, judge, way};
use crate::crypto::{Keyring, Scheme, Unverified, Verified};
use crate::types::{Assurance, ClientId, Members, ReplicaId};
use crate::wire::{Header, Receipt, ReceiptProof, Request};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A header that attests one of a proof's steps, and which.
type Found = (Verified<Header>, usize);

/// Makes the best receipt of an accepted answer: that of one proof, with all headers that fit it,
/// whoever gave them. What does not fit is left out, and so are steps after the last one that is
/// attested. The more agreement the better, then the more signers, then the shorter way.
///
/// # Errors
/// If nothing shows `t + 1` signers: how many the best one has, or else what is wrong with the
/// first.
pub fn assemble<S: Scheme>(
    client: ClientId,
    request: &Request,
    outcome: &Bytes,
    proofs: &[ReceiptProof],
    keyring: &Keyring<S>,
) -> Result<(Receipt, Judged), ReceiptError> {
    let (mut best, mut refused) = (None, None);
    let receipt_of = |proof: &ReceiptProof| {
        let (request, outcome, proof) = (request.clone(), outcome.clone(), proof.clone());
        Receipt { client, request, outcome, proof }
    };
    let mut signed = Signed::of(proofs);
    let mut ways: Vec<Vec<ShownStep>> = Vec::new();
    for proof in proofs {
        let mut receipt = receipt_of(proof);
        let steps = match way(&receipt, &keyring.context()) {
            Ok(steps) => steps,
            Err(why) => {
                refused.get_or_insert(why);
                continue;
            }
        };
        // Proofs of good replicas are often the same.
        if ways.contains(&steps) {
            continue;
        }
        let found = signed.for_steps(&steps, keyring);
        let rank = rank_of(&found, keyring);
        if best.as_ref().is_none_or(|(r, _)| *r < rank) {
            let last = found.values().map(|(_, place)| *place).max().unwrap_or(0);
            receipt.proof.later.truncate(last);
            receipt.proof.signed = found.into_values().map(|(h, _)| h.into()).collect();
            best = Some((rank, receipt));
        }
        ways.push(steps);
    }
    let Some((_, receipt)) = best else {
        return Err(refused.unwrap_or(ReceiptError::NoProof));
    };
    let judged = judge(&receipt, keyring)?;
    Ok((receipt, judged))
}

/// What makes a receipt better than another one.
type Rank = (Assurance, usize, usize, std::cmp::Reverse<usize>);

fn rank_of<S: Scheme>(found: &BTreeMap<ReplicaId, Found>, keyring: &Keyring<S>) -> Rank {
    let signers: Members = found.keys().copied().collect();
    let is_rolled = |h: &Header| h.attestation.rolled;
    let rolled: Members =
        found.values().filter(|(h, _)| is_rolled(h)).map(|(h, _)| h.replica).collect();
    let length = found.values().map(|(_, place)| *place).max().unwrap_or(0);
    let reached = assurance(keyring.ensemble(), signers, rolled);
    (reached, signers.len(), signers.minus(rolled).len(), std::cmp::Reverse(length))
}

/// Nothing until a signature is checked, then the header if it stands.
type Checked = Option<Option<Verified<Header>>>;

/// All headers of all proofs, each checked once at most.
struct Signed<'a> {
    headers: Vec<(&'a Unverified<Header>, Checked)>,
}

impl<'a> Signed<'a> {
    fn of(proofs: &'a [ReceiptProof]) -> Self {
        let mut headers: Vec<(&Unverified<Header>, _)> = Vec::new();
        for header in proofs.iter().flat_map(|p| &p.signed) {
            if headers.iter().all(|(known, _)| *known != header) {
                headers.push((header, None));
            }
        }
        Self { headers }
    }

    /// For each replica the header that says most for one of these steps.
    fn for_steps<S: Scheme>(
        &mut self,
        steps: &[ShownStep],
        keyring: &Keyring<S>,
    ) -> BTreeMap<ReplicaId, Found> {
        let mut found: BTreeMap<ReplicaId, Found> = BTreeMap::new();
        for (header, verdict) in &mut self.headers {
            let said = header.peek().attestation;
            // Before any signature is checked: what fits no step costs nothing.
            let fits = |s: &ShownStep| (s.position, s.running) == (said.position, said.running);
            let Some(place) = steps.iter().position(fits) else { continue };
            let verified = verdict.get_or_insert_with(|| header.verify_ref(keyring).ok());
            let Some(header) = verified else { continue };
            if attests(header, steps).is_err() {
                continue;
            }
            let says = |(h, place): &Found| {
                let a = h.attestation;
                (!a.rolled, a.delta_held, std::cmp::Reverse(*place))
            };
            let one = (header.clone(), place);
            if found.get(&header.replica).is_none_or(|known| says(known) < says(&one)) {
                found.insert(header.replica, one);
            }
        }
        found
    }
}
