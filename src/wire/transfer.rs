//! Catching up: the history since a round. Nothing here is signed; what is given in answer proves
//! itself, as proposals are signed. What is older is fetched as a snapshot (`snapshot.rs`).

use super::{DecodeError, Kind, Message, Reader, Writer};
use crate::types::Round;

/// Asks for the committed vectors after a round, and for the openings between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantHistory {
    /// The last round that the asker has committed.
    pub after: Round,
}

impl Message for WantHistory {
    const KIND: Kind = Kind::WantHistory;

    fn encode(&self, out: &mut Writer) {
        out.round(self.after);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { after: r.round("history after")? })
    }
}

/// Answers a [`WantHistory`] that goes back further than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The round of the snapshot from which on there is history; 0 if there is no snapshot.
    pub snapshot: Round,
}

impl Message for Gone {
    const KIND: Kind = Kind::Gone;

    fn encode(&self, out: &mut Writer) {
        out.round(self.snapshot);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { snapshot: r.round("round of the snapshot")? })
    }
}
