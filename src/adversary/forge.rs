//! Proofs that prove nothing (§6), and words in the mouths of others.

use super::{Attack, EpochLie, Fate, Noise, Pen};
use crate::crypto::{Scheme, Unverified};
use crate::replica::{Actions, Input};
use crate::types::{Call, Now, ReplicaId, Round};
use crate::wire::{CallMessage, Evidence, Kind, Message as _, Proof, Proposal};

/// The attack behind [`EpochLie::Forge`].
#[derive(Debug)]
pub struct Forge {
    noise: Noise,
    /// Something that another replica really signed.
    heard: Option<Unverified<Proposal>>,
    due: bool,
    last: Option<Round>,
    salvos: u64,
}

impl Forge {
    /// Rounds between two salvos.
    const EVERY: u64 = 16;
    /// Only so many salvos have a forged frame in them: each costs the liar its links.
    const WITH_FRAME: u64 = 3;

    pub(super) fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed), heard: None, due: false, last: None, salvos: 0 }
    }
}

impl<S: Scheme> Attack<S> for Forge {
    fn name(&self) -> &'static str {
        EpochLie::Forge.name()
    }

    fn hear(&mut self, _: Now, input: Input, heard: &mut Vec<Input>) {
        if let Input::PeerFrame { peer, frame } = &input
            && frame.kind == Kind::Proposal
            && let Ok(proposal) = Unverified::<Proposal>::from_body(&frame.body)
            && proposal.peek().replica == *peer
        {
            self.heard = Some(proposal);
        }
        heard.push(input);
    }

    fn proposal(&mut self, _: Now, _: ReplicaId, proposal: &mut Proposal) -> Fate {
        if self.last.is_none_or(|last| proposal.round.0 >= last.0 + Self::EVERY) {
            (self.last, self.due) = (Some(proposal.round), true);
        }
        Fate::Keep
    }

    fn add(&mut self, _: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        if !self.due {
            return;
        }
        let Some(real) = self.heard.clone() else { return };
        (self.due, self.salvos) = (false, self.salvos + 1);
        let (victim, epoch) = (real.peek().replica, real.peek().epoch);
        let header = Unverified::new(real.peek().header(), *real.signature());
        let mut altered = real.peek().clone();
        altered.now = altered.now.wrapping_add(1 + self.noise.any() % 1000);
        let other = Unverified::new(altered.header(), *real.signature());
        // One that is signed, but says the same twice; and one that differs and is not signed.
        let proofs = [
            Proof::Equivocation(header.clone(), header.clone()),
            Proof::Equivocation(header, other),
        ];
        let evidence = proofs.map(|p| Evidence::Proof(Box::new(p))).into();
        let accused = std::iter::once(victim).collect();
        let call = Call { root: epoch.root(), list: real.peek().members, accused };
        pen.tell_all(&CallMessage { call, evidence }.to_frame(pen.group), out);
        if self.salvos <= Self::WITH_FRAME {
            altered.round = altered.round.next();
            let forged = Unverified::new(altered, *real.signature());
            pen.tell_all(&forged.to_frame(pen.group), out);
        }
    }
}
