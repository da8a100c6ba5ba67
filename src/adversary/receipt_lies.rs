//! Lies to whoever wants a receipt (docs/protocol.md §6): it must find them out and get the proof
//! from others.

use super::{Attack, Noise, Pen, UnknownLie, by_name};
use crate::crypto::{Scheme, Unverified, running_root};
use crate::replica::{Action, Actions};
use crate::types::{Digest, LinkId, Now};
use crate::wire::{Frame, Header, Kind, Message as _, NoReceipt, ReceiptAnswer, ReceiptProof};
use std::str::FromStr;

/// A lie about the proof of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiptLie {
    /// A hash on the way is another one.
    WrongPath,
    /// The way of another reply of the step.
    OtherLeaf,
    /// Signatures that belong to other proofs.
    MixedHeaders,
    /// Another history before the step, which the liar itself attests.
    OwnHistory,
    /// No answer.
    SilentReceipt,
    /// It says that it has forgotten.
    Forgetful,
    /// What is no message.
    Garbage,
    /// One of these, anew for each proof.
    AnyReceipt,
}

impl ReceiptLie {
    /// All of them.
    pub const ALL: [ReceiptLie; 8] = [
        ReceiptLie::WrongPath,
        ReceiptLie::OtherLeaf,
        ReceiptLie::MixedHeaders,
        ReceiptLie::OwnHistory,
        ReceiptLie::SilentReceipt,
        ReceiptLie::Forgetful,
        ReceiptLie::Garbage,
        ReceiptLie::AnyReceipt,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ReceiptLie::WrongPath => "wrong-path",
            ReceiptLie::OtherLeaf => "other-leaf",
            ReceiptLie::MixedHeaders => "mixed-headers",
            ReceiptLie::OwnHistory => "own-history",
            ReceiptLie::SilentReceipt => "silent-receipt",
            ReceiptLie::Forgetful => "forgetful",
            ReceiptLie::Garbage => "garbage",
            ReceiptLie::AnyReceipt => "any-receipt",
        }
    }

    /// The attack that tells it.
    pub fn attack(self, seed: u64) -> LyingReceipts {
        let (held, seen) = (Vec::new(), Vec::new());
        LyingReceipts { lie: self, noise: Noise::new(seed), held, seen }
    }
}

impl FromStr for ReceiptLie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        by_name(given, Self::ALL.into_iter(), Self::name)
    }
}

/// The attack behind each [`ReceiptLie`].
#[derive(Debug)]
pub struct LyingReceipts {
    lie: ReceiptLie,
    noise: Noise,
    /// Answers that are still to be made false, as that takes a signature.
    held: Vec<(LinkId, ReceiptAnswer)>,
    /// Headers of proofs given before.
    seen: Vec<Unverified<Header>>,
}

impl LyingReceipts {
    /// Headers of others' proofs that are kept to be mixed in.
    const MOST: usize = 64;

    fn choose(&mut self) -> ReceiptLie {
        match self.lie {
            ReceiptLie::AnyReceipt => *self.noise.pick(&ReceiptLie::ALL[..7]),
            lie => lie,
        }
    }

    fn mix(&mut self, proof: &mut ReceiptProof) {
        for header in &mut proof.signed {
            let by = header.peek().replica;
            let other = self.seen.iter().find(|seen| seen.peek().replica == by && *seen != header);
            let other = other.cloned();
            self.seen.push(std::mem::replace(header, other.unwrap_or_else(|| header.clone())));
        }
        let over = self.seen.len().saturating_sub(Self::MOST);
        self.seen.drain(..over);
    }
}

impl<S: Scheme> Attack<S> for LyingReceipts {
    fn name(&self) -> &'static str {
        self.lie.name()
    }

    fn act(&mut self, _: Now, action: Action, out: &mut Actions) {
        let Action::ToClient { link, frame } = &action else { return out.push(action) };
        let parsed = Frame::parse(frame.clone()).ok().filter(|frame| frame.kind == Kind::Receipt);
        let answer = parsed.as_ref().and_then(|f| ReceiptAnswer::from_body(&f.body).ok());
        let (Some(parsed), Some(mut answer)) = (parsed, answer) else { return out.push(action) };
        let ReceiptAnswer { result: Ok(proof), .. } = &mut answer else { return out.push(action) };
        match self.choose() {
            ReceiptLie::SilentReceipt => return,
            ReceiptLie::OwnHistory => return self.held.push((*link, answer)),
            ReceiptLie::Garbage => {
                let mut bytes = frame.to_vec();
                // The flag that says whether there is a proof, behind header, session and number.
                bytes[9 + 16] = 7;
                return out.push(Action::ToClient { link: *link, frame: bytes.into() });
            }
            ReceiptLie::Forgetful => answer.result = Err(NoReceipt::TooOld),
            ReceiptLie::WrongPath => match proof.path.siblings.first_mut() {
                Some(sibling) => sibling.0[0] ^= 1,
                None => proof.before.0[0] ^= 1,
            },
            ReceiptLie::OtherLeaf => {
                proof.path.leaves = proof.path.leaves.max(2);
                proof.path.place = (proof.path.place + 1) % proof.path.leaves;
            }
            ReceiptLie::MixedHeaders | ReceiptLie::AnyReceipt => self.mix(proof),
        }
        let frame = answer.to_frame(parsed.group).into();
        out.push(Action::ToClient { link: *link, frame });
    }

    fn add(&mut self, _: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        for (link, mut answer) in std::mem::take(&mut self.held) {
            if let Ok(proof) = &mut answer.result {
                proof.before = Digest([13; 32]);
                // What the liar attests of it fits; the others' words do not.
                let root = Digest([14; 32]);
                let running = running_root(&proof.before, &proof.position.vector, &root);
                proof.later.clear();
                for signed in proof.signed.iter_mut().filter(|s| s.peek().replica == pen.id) {
                    let mut header = signed.peek().clone();
                    header.attestation.position = proof.position;
                    header.attestation.running = running;
                    *signed = pen.sign(header).into();
                }
            }
            out.push(Action::ToClient { link, frame: answer.to_frame(pen.group).into() });
        }
    }
}
