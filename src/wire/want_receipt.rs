//! A client asks for the proof of a reply, and gets it or hears why not (docs/protocol.md §6).

use super::layout::Layout;
use super::{DecodeError, Kind, Message, Reader, ReceiptProof, StepPosition, Writer};
use crate::types::{Assurance, SessionId};

/// Asks a replica for what shows that a request of this client got the reply that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantReceipt {
    /// The request's session.
    pub session: SessionId,
    /// Its number.
    pub number: u64,
    /// The step that executed it, as the reply says.
    pub position: StepPosition,
    /// Its index there, as the reply says.
    pub index: u32,
    /// How many replicas have to attest it.
    pub assurance: Assurance,
}

impl Message for WantReceipt {
    const KIND: Kind = Kind::WantReceipt;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.session.0).u64(self.number);
        self.position.put(out);
        out.u32(self.index).bool(self.assurance == Assurance::Strong);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId(r.u64("receipt session")?);
        let number = r.u64("receipt number")?;
        let position = StepPosition::get(r)?;
        let index = r.u32("receipt index")?;
        let assurance = match r.bool("receipt assurance")? {
            true => Assurance::Strong,
            false => Assurance::Majority,
        };
        Ok(Self { session, number, position, index, assurance })
    }
}

/// Why a replica gives no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[repr(u8)]
pub enum NoReceipt {
    /// What is kept of the last steps does not reach back so far.
    #[error("it keeps nothing of that step any more")]
    TooOld = 0,
    /// The replica has not executed that step, and waited for it in vain.
    #[error("it has not executed that step")]
    NotExecuted = 1,
    /// No request of this client and number has that place here.
    #[error("it knows no such reply to this client")]
    NoSuchReply = 2,
    /// Replies are not attested here: in a fail-stop chain.
    #[error("nothing is attested in a fail-stop chain")]
    NotKept = 3,
    /// Too many wait for receipts, or for answers: ask again later.
    #[error("busy: too many wait for receipts")]
    Busy = 4,
}

impl NoReceipt {
    const ALL: [NoReceipt; 5] = [
        NoReceipt::TooOld,
        NoReceipt::NotExecuted,
        NoReceipt::NoSuchReply,
        NoReceipt::NotKept,
        NoReceipt::Busy,
    ];
}

/// Answers a [`WantReceipt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptAnswer {
    /// The request's session.
    pub session: SessionId,
    /// Its number.
    pub number: u64,
    /// The proof. It may have fewer signatures than were wanted, if there were no more in time.
    pub result: Result<ReceiptProof, NoReceipt>,
}

impl Message for ReceiptAnswer {
    const KIND: Kind = Kind::Receipt;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.session.0).u64(self.number);
        match &self.result {
            Ok(proof) => {
                out.u8(0);
                proof.put(out);
            }
            Err(why) => {
                out.u8(1).u8(*why as u8);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId(r.u64("receipt session")?);
        let number = r.u64("receipt number")?;
        let result = match r.u8("receipt or not")? {
            0 => Ok(ReceiptProof::get(r)?),
            1 => {
                let code = r.u8("why there is no receipt")?;
                let why = NoReceipt::ALL.into_iter().find(|w| *w as u8 == code);
                Err(why.ok_or_else(|| r.error("why there is no receipt"))?)
            }
            _ => return Err(r.error("receipt or not")),
        };
        Ok(Self { session, number, result })
    }
}
