//! What is shown: lies, and processes that die or stop.

use crate::adversary::{EpochLie, Lie, OrderingLie, ReplyLie};
use std::fmt;
use std::str::FromStr;

/// What the bad replicas of a demonstration do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// They tell this lie.
    Lie(Lie),
    /// They die, as by `kill -9`, and are started again.
    Crash,
    /// They are stopped for a while, as by SIGSTOP: no link breaks.
    Stop,
}

/// What must come of it, or nothing was demonstrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Clients see other answers of theirs.
    Dissent,
    /// Clients see no answer of theirs.
    Silence,
    /// They are expelled with a proof, and stay out.
    Expelled,
    /// They are excluded; whenever they are let in they are excluded again.
    Excluded,
    /// They are excluded, and come back.
    Away,
    /// One of these counters of the good ones rises.
    Noticed(&'static [&'static str]),
    /// Nothing but right answers.
    Nothing,
}

impl Trick {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Trick> {
        // Nobody fetches a snapshot in a demonstration.
        let shown = Lie::all().filter(|lie| !matches!(lie, Lie::Source(_)));
        shown.map(Trick::Lie).chain([Trick::Crash, Trick::Stop])
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Trick::Lie(lie) => lie.name(),
            Trick::Crash => "crash",
            Trick::Stop => "stop",
        }
    }

    /// The lie that the replicas are started with.
    pub(super) fn lie(self) -> Option<Lie> {
        match self {
            Trick::Lie(lie) => Some(lie),
            Trick::Crash | Trick::Stop => None,
        }
    }

    /// How a bad replica is called in tables.
    pub(super) fn role(self) -> &'static str {
        match self {
            Trick::Lie(_) => "liar",
            Trick::Crash => "dies",
            Trick::Stop => "stops",
        }
    }

    /// What must come of it.
    pub(super) fn expect(self) -> Expect {
        match self {
            Trick::Lie(Lie::Reply(ReplyLie::SilentReply)) => Expect::Silence,
            Trick::Lie(Lie::Reply(_)) => Expect::Dissent,
            Trick::Lie(Lie::Ordering(lie)) => match lie {
                OrderingLie::Equivocate
                | OrderingLie::InvalidCandidates
                | OrderingLie::FallingCandidates => Expect::Expelled,
                OrderingLie::WrongChoice | OrderingLie::SilentProposals => Expect::Excluded,
                OrderingLie::ClockEarly
                | OrderingLie::ClockLate
                | OrderingLie::ClockHuge
                | OrderingLie::AlwaysLowest
                | OrderingLie::FakeCandidates
                | OrderingLie::LowFakes
                | OrderingLie::Favour
                | OrderingLie::HalfSend => Expect::Nothing,
            },
            Trick::Lie(Lie::Epoch(lie)) => match lie {
                EpochLie::Withhold => Expect::Away,
                EpochLie::FalseBlame => Expect::Noticed(&["blames"]),
                EpochLie::Forge => Expect::Noticed(&["bad_proofs", "bad_signatures"]),
                EpochLie::Flood => Expect::Noticed(&["over_allowance"]),
                EpochLie::Selective | EpochLie::SlowDrip | EpochLie::SlowUsual => Expect::Nothing,
            },
            Trick::Lie(Lie::Source(_) | Lie::StaleRead | Lie::Receipt(_) | Lie::Whole(_)) => {
                Expect::Nothing
            }
            Trick::Crash | Trick::Stop => Expect::Away,
        }
    }
}

impl fmt::Display for Trick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Trick {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        match (given, given.parse::<Lie>()) {
            ("crash", _) => Ok(Trick::Crash),
            ("stop", _) => Ok(Trick::Stop),
            (_, Ok(lie)) => Ok(Trick::Lie(lie)),
            (_, Err(e)) => Err(format!("{e}, crash, stop")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trick_is_found_by_its_name_and_others_are_told_all_names() {
        for trick in Trick::all() {
            assert_eq!(trick.name().parse(), Ok(trick));
        }
        let told = "white".parse::<Trick>().unwrap_err();
        for trick in Trick::all() {
            assert!(told.contains(trick.name()), "{told}");
        }
    }
}
