//! Replicas that lie, each kind a named file.
//!
//! A [`Liar`] runs an honest replica and changes what that one hears and says: so it keeps up with
//! the protocol, which makes its lies better. It has its own signing key and nobody else's. Which
//! lie it tells is an [`Attack`]; those that the command line knows are listed by
//! [`ReplyLie::ALL`], [`OrderingLie::ALL`], [`EpochLie::ALL`], [`SourceLie::ALL`] and
//! [`WholeLie::ALL`].
//!
//! [`Twins`] lie without an attack: they are two honest replicas with one key.
//!
//! A daemon tells lies only where its cluster file allows them, and says so loudly; they are for
//! people who want to see for themselves that a lie changes nothing.

mod epoch_lies;
mod false_blame;
mod flood;
mod forge;
mod liar;
mod noise;
mod ordering_lies;
mod receipt_lies;
mod reply_lies;
mod selective;
mod sleeper;
mod slow_drip;
mod source_lies;
mod stale_read;
mod twins;
mod whole_lies;
mod withhold;

pub use epoch_lies::EpochLie;
pub use false_blame::FalseBlame;
pub use flood::Flood;
pub use forge::Forge;
pub use liar::{Attack, Fate, Liar, Pen};
pub use noise::Noise;
pub use ordering_lies::OrderingLie;
pub use receipt_lies::{LyingReceipts, ReceiptLie};
pub use reply_lies::ReplyLie;
pub use selective::Selective;
pub use sleeper::Sleeper;
pub use slow_drip::SlowDrip;
pub use source_lies::{LyingSource, SourceLie};
pub use stale_read::StaleRead;
pub use twins::{Sides, Twins};
pub use whole_lies::WholeLie;
pub use withhold::Withhold;

use crate::crypto::Scheme;

/// A name that is not the name of a lie.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no lie called {given:?}; there are: {known}")]
pub struct UnknownLie {
    given: String,
    known: String,
}

/// A lie of any kind, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// About replies: clients must see through it.
    Reply(ReplyLie),
    /// In the ordering protocol: replicas must withstand it.
    Ordering(OrderingLie),
    /// About who is to go on: good replicas must go on, all of them.
    Epoch(EpochLie),
    /// To whoever fetches a snapshot: it must get the state from others.
    Source(SourceLie),
    /// To whoever reads without ordering: it must not be shown what is over.
    StaleRead,
    /// To whoever wants a receipt: it must get one from others.
    Receipt(ReceiptLie),
    /// About large results: clients must get them from others.
    Whole(WholeLie),
}

impl Lie {
    /// All lies but those that are told only to clients that read without ordering, want receipts
    /// or get large results, and the one that is another one where members have no budget.
    pub fn all() -> impl Iterator<Item = Lie> {
        let replies = ReplyLie::ALL.into_iter().map(Lie::Reply);
        let ordering = OrderingLie::ALL.into_iter().map(Lie::Ordering);
        let epochs = EpochLie::ALL.into_iter().filter(|lie| *lie != EpochLie::SlowUsual);
        let epochs = epochs.map(Lie::Epoch);
        replies.chain(ordering).chain(epochs).chain(SourceLie::ALL.into_iter().map(Lie::Source))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Lie::Reply(lie) => lie.name(),
            Lie::Ordering(lie) => lie.name(),
            Lie::Epoch(lie) => lie.name(),
            Lie::Source(lie) => lie.name(),
            Lie::StaleRead => "stale-read",
            Lie::Receipt(lie) => lie.name(),
            Lie::Whole(lie) => lie.name(),
        }
    }

    /// The attack that tells it; `seed` decides whatever it leaves to chance.
    pub fn attack<S: Scheme>(self, seed: u64) -> Box<dyn Attack<S>> {
        match self {
            Lie::Reply(lie) => Box::new(lie.attack(seed)),
            Lie::Ordering(lie) => lie.attack(seed),
            Lie::Epoch(lie) => lie.attack(seed),
            Lie::Source(lie) => Box::new(lie.attack()),
            Lie::StaleRead => Box::new(StaleRead::default()),
            Lie::Receipt(lie) => Box::new(lie.attack(seed)),
            Lie::Whole(lie) => Box::new(lie),
        }
    }
}

impl std::str::FromStr for Lie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        let receipts = ReceiptLie::ALL.into_iter().map(Lie::Receipt);
        let special = receipts.chain(WholeLie::ALL.map(Lie::Whole)).chain([Lie::StaleRead]);
        let special = special.chain([Lie::Epoch(EpochLie::SlowUsual)]);
        by_name(given, Self::all().chain(special), Self::name)
    }
}

fn by_name<T: Copy>(
    given: &str,
    all: impl Iterator<Item = T>,
    name: fn(T) -> &'static str,
) -> Result<T, UnknownLie> {
    let all: Vec<T> = all.collect();
    let known = || all.iter().map(|lie| name(*lie)).collect::<Vec<_>>().join(", ");
    let found = all.iter().copied().find(|lie| name(*lie) == given);
    found.ok_or_else(|| UnknownLie { given: given.to_owned(), known: known() })
}

#[cfg(test)]
mod tests;
