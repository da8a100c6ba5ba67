//! Lies about who is to go on, and taking part only as much as one likes (docs/protocol.md §5).

use super::{Attack, FalseBlame, Flood, Forge, Selective, SlowDrip, UnknownLie, Withhold, by_name};
use crate::crypto::Scheme;
use std::str::FromStr;

/// A lie that the change of the epoch must withstand, each told by an attack in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpochLie {
    /// Takes part for a while after each admission, then sends its proposals to nobody.
    Withhold,
    /// Sends its proposals and Reports to every second replica only, to others each round.
    Selective,
    /// Blames all others and says that nothing gets on, all the time.
    FalseBlame,
    /// Shows proofs that prove nothing, and proposals of others with signatures that do not fit.
    Forge,
    /// Sends its proposals so late that it is just not blamed.
    SlowDrip,
    /// The same, but where members have a budget so late that it just costs nothing of it (E1).
    SlowUsual,
    /// Says valid things that cost others the check of a signature, as fast as it can.
    Flood,
}

impl EpochLie {
    /// All of them.
    pub const ALL: [EpochLie; 7] = [
        EpochLie::Withhold,
        EpochLie::Selective,
        EpochLie::FalseBlame,
        EpochLie::Forge,
        EpochLie::SlowDrip,
        EpochLie::SlowUsual,
        EpochLie::Flood,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EpochLie::Withhold => "withhold",
            EpochLie::Selective => "selective",
            EpochLie::FalseBlame => "false-blame",
            EpochLie::Forge => "forge",
            EpochLie::SlowDrip => "slow-drip",
            EpochLie::SlowUsual => "slow-usual",
            EpochLie::Flood => "flood",
        }
    }

    /// The attack that tells it; `seed` decides whatever it leaves to chance.
    pub fn attack<S: Scheme>(self, seed: u64) -> Box<dyn Attack<S>> {
        match self {
            EpochLie::Withhold => Box::new(Withhold::default()),
            EpochLie::Selective => Box::new(Selective::default()),
            EpochLie::FalseBlame => Box::new(FalseBlame::default()),
            EpochLie::Forge => Box::new(Forge::new(seed)),
            EpochLie::SlowDrip => Box::new(SlowDrip::new(EpochLie::SlowDrip)),
            EpochLie::SlowUsual => Box::new(SlowDrip::new(EpochLie::SlowUsual)),
            EpochLie::Flood => Box::new(Flood::default()),
        }
    }
}

impl FromStr for EpochLie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        by_name(given, Self::ALL.into_iter(), Self::name)
    }
}
