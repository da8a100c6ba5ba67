//! Lies told to replicas in the ordering protocol (B1, B3, B9, B10, B31).

use super::liar::INVENTED;
use super::{Attack, Fate, Noise, UnknownLie, by_name};
use crate::crypto::Scheme;
use crate::replica::Input;
use crate::types::{ClientId, ClockKind, GroupId, LinkId, Now, ReplicaId, Role, SessionId, Wall};
use crate::wire::RequestBody;
use crate::wire::{Candidate, Command, CommandKind, Frame, Kind, Message, Proposal, Request};
use bytes::Bytes;
use std::str::FromStr;

/// A lie in the ordering protocol.
///
/// The first eight stay within what R4 allows: nobody can prove them, and they must change nothing
/// that was promised. The others are proofs of lying, or withhold what is owed: they can stop the
/// rounds, and must not make good replicas differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderingLie {
    /// Candidates and clock a second early.
    ClockEarly,
    /// Candidates and clock a second late.
    ClockLate,
    /// Candidates and clock far beyond any date.
    ClockHuge,
    /// The lowest candidates that are valid: a clock that stands still.
    AlwaysLowest,
    /// A candidate for a request that does not exist, in every round, with an honest clock.
    FakeCandidates,
    /// The same with the lowest candidates that are valid.
    LowFakes,
    /// Sees only every second request, and those very early.
    Favour,
    /// Sends its proposals to one replica only; the others must ask (R5).
    HalfSend,
    /// Two proposals for one round, to different replicas (R5).
    Equivocate,
    /// Candidates above its own clock, which R4 forbids.
    InvalidCandidates,
    /// Candidates below its highest so far, which R4 forbids.
    FallingCandidates,
    /// Chooses a vector that nobody has.
    WrongChoice,
    /// Sends no proposals.
    SilentProposals,
}

impl OrderingLie {
    /// All of them.
    pub const ALL: [OrderingLie; 13] = [
        OrderingLie::ClockEarly,
        OrderingLie::ClockLate,
        OrderingLie::ClockHuge,
        OrderingLie::AlwaysLowest,
        OrderingLie::FakeCandidates,
        OrderingLie::LowFakes,
        OrderingLie::Favour,
        OrderingLie::HalfSend,
        OrderingLie::Equivocate,
        OrderingLie::InvalidCandidates,
        OrderingLie::FallingCandidates,
        OrderingLie::WrongChoice,
        OrderingLie::SilentProposals,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OrderingLie::ClockEarly => "clock-early",
            OrderingLie::ClockLate => "clock-late",
            OrderingLie::ClockHuge => "clock-huge",
            OrderingLie::AlwaysLowest => "always-lowest",
            OrderingLie::FakeCandidates => "fake-candidates",
            OrderingLie::LowFakes => "low-fakes",
            OrderingLie::Favour => "favour",
            OrderingLie::HalfSend => "half-send",
            OrderingLie::Equivocate => "equivocate",
            OrderingLie::InvalidCandidates => "invalid-candidates",
            OrderingLie::FallingCandidates => "falling-candidates",
            OrderingLie::WrongChoice => "wrong-choice",
            OrderingLie::SilentProposals => "silent-proposals",
        }
    }

    /// Whether rounds go on in spite of it, with all other replicas good. Those that stop them
    /// call for a change of the epoch.
    pub fn keeps_pace(self) -> bool {
        !matches!(
            self,
            OrderingLie::Equivocate
                | OrderingLie::InvalidCandidates
                | OrderingLie::FallingCandidates
                | OrderingLie::WrongChoice
                | OrderingLie::SilentProposals
        )
    }

    /// The attack that tells it.
    pub fn attack<S: Scheme>(self, seed: u64) -> Box<dyn Attack<S>> {
        let fakes = matches!(self, OrderingLie::FakeCandidates | OrderingLie::LowFakes);
        let fakes = fakes.then(|| Fakes::new(seed));
        Box::new(LyingOrder { lie: self, frozen: None, fakes })
    }
}

impl FromStr for OrderingLie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        by_name(given, Self::ALL.into_iter(), Self::name)
    }
}

const SECOND: u64 = 1_000_000;

struct LyingOrder {
    lie: OrderingLie,
    /// The reading that a clock which stands still has.
    frozen: Option<Wall>,
    fakes: Option<Fakes>,
}

impl<S: Scheme> Attack<S> for LyingOrder {
    fn name(&self) -> &'static str {
        self.lie.name()
    }

    // A hybrid clock would follow the agreed one.
    fn clock(&self) -> Option<ClockKind> {
        let low = matches!(
            self.lie,
            OrderingLie::ClockEarly
                | OrderingLie::AlwaysLowest
                | OrderingLie::LowFakes
                | OrderingLie::Favour
        );
        low.then_some(ClockKind::RealTime)
    }

    fn now(&mut self, now: Now) -> Now {
        let read = now.wall.0;
        let wall = match self.lie {
            OrderingLie::ClockEarly => Wall(read.saturating_sub(SECOND)),
            OrderingLie::ClockLate => Wall(read.saturating_add(SECOND)),
            OrderingLie::ClockHuge => Wall(read.saturating_add(1 << 62)),
            // Each candidate is one above the last then.
            OrderingLie::AlwaysLowest | OrderingLie::LowFakes | OrderingLie::Favour => {
                *self.frozen.get_or_insert(Wall(read / 2))
            }
            _ => now.wall,
        };
        Now { wall, ..now }
    }

    fn hear(&mut self, _: Now, mut input: Input, heard: &mut Vec<Input>) {
        if let (OrderingLie::Favour, Input::ClientFrames { frames, .. }) = (self.lie, &mut input) {
            frames.retain(|f| f.kind != Kind::Request || is_favoured(f));
        }
        let proposal = match &input {
            Input::PeerFrame { frame, .. } => frame.kind == Kind::Proposal,
            _ => false,
        };
        heard.push(input);
        if let Some(fakes) = self.fakes.as_mut().filter(|_| proposal) {
            fakes.invent(heard);
        }
    }

    fn proposal(&mut self, _: Now, to: ReplicaId, proposal: &mut Proposal) -> Fate {
        match self.lie {
            OrderingLie::HalfSend if to.number() != lowest_other(proposal.replica) => Fate::Drop,
            OrderingLie::SilentProposals => Fate::Drop,
            OrderingLie::Equivocate if to.number() == lowest_other(proposal.replica) => {
                proposal.now = proposal.now.saturating_add(1);
                Fate::Changed
            }
            OrderingLie::InvalidCandidates => {
                let clock = proposal.now.saturating_add(SECOND);
                let request = crate::crypto::sha256(&proposal.round.0.to_le_bytes());
                proposal.candidates.push(Candidate { clock, request });
                Fate::Changed
            }
            OrderingLie::FallingCandidates if proposal.round.0 > 3 => {
                let request = crate::crypto::sha256(&proposal.round.0.to_le_bytes());
                proposal.candidates.insert(0, Candidate { clock: 1, request });
                Fate::Changed
            }
            OrderingLie::WrongChoice => match proposal.choice.first_mut() {
                Some(chosen) => {
                    chosen.0[0] ^= 1;
                    Fate::Changed
                }
                None => Fate::Keep,
            },
            _ => Fate::Keep,
        }
    }
}

// By the request's bytes: a repetition fares no better.
fn is_favoured(request: &Frame) -> bool {
    crate::crypto::sha256(&request.body).0[0].is_multiple_of(2)
}

fn lowest_other(own: ReplicaId) -> u8 {
    if own.number() == 1 { 2 } else { 1 }
}

/// Requests that only the liar has ever seen, from clients that do not exist.
struct Fakes {
    noise: Noise,
    made: u64,
}

impl Fakes {
    /// Requests of one invented client; a quota of the honest replica within would stop more.
    const PER_CLIENT: u64 = 1000;

    fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed), made: 0 }
    }

    fn invent(&mut self, heard: &mut Vec<Input>) {
        let link = LinkId(INVENTED + self.made / Self::PER_CLIENT);
        if self.made.is_multiple_of(Self::PER_CLIENT) {
            let client = ClientId(crate::crypto::sha256(&self.noise.any().to_le_bytes()).0);
            heard.push(Input::ClientUp { link, client, role: Role::Write });
        }
        self.made += 1;
        let bytes = Bytes::copy_from_slice(&self.noise.any().to_le_bytes());
        let commands = vec![Command { kind: CommandKind::Execute, bytes }];
        let body = RequestBody { commands }.to_bytes();
        let session = SessionId(self.noise.any());
        let request = Request { session, number: 1, low: 1, body };
        let mut encoded = crate::wire::Writer::new();
        request.encode(&mut encoded);
        let body = encoded.into_bytes().into();
        let frame = Frame { kind: Kind::Request, group: GroupId::MAIN, body };
        heard.push(Input::ClientFrames { link, frames: vec![frame] });
    }
}
