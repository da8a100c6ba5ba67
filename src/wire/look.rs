//! A look at what became of a request, which changes nothing (rule C2).

use super::{Command, CommandKind, DecodeError, MAX_FRAME, Reader, StepPosition, Writer};
use crate::types::SessionId;
use bytes::Bytes;

/// Asks what became of a request of the client that asks. A command of the kind
/// [`CommandKind::Look`] has these bytes, and a [`Looked`] is its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The request's session.
    pub session: SessionId,
    /// Its number.
    pub number: u64,
}

/// What the session table knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Its session is not open. Whether sessions of this client were evicted: then it may be one
    /// of them, else none of its requests has run.
    NoSession {
        /// Whether.
        evicted: bool,
    },
    /// No request with this number has run so far.
    NotYet,
    /// One ran or was withdrawn, or its client declared that it has the answer; what came of it is
    /// no longer kept.
    Gone,
    /// One ran, or was withdrawn.
    Stored {
        /// At which step.
        position: StepPosition,
        /// At which index of it.
        index: u32,
        /// The outcome's bytes ([`super::Outcome::to_bytes`]).
        outcome: Bytes,
    },
}

impl Look {
    /// The command that asks this.
    pub fn to_command(self) -> Command {
        let mut out = Writer::new();
        out.u64(self.session.0).u64(self.number);
        Command { kind: CommandKind::Look, bytes: out.into_bytes().into() }
    }

    /// Reads a command's bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let session = SessionId(r.u64("session looked at")?);
        let number = r.u64("number looked at")?;
        r.finish()?;
        Ok(Self { session, number })
    }
}

impl Looked {
    /// The output's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Looked::NoSession { evicted } => {
                out.u8(0).bool(*evicted);
            }
            Looked::NotYet => {
                out.u8(1);
            }
            Looked::Gone => {
                out.u8(2);
            }
            Looked::Stored { position, index, outcome } => {
                out.u8(3).round(position.round).digest(&position.vector).u32(*index).var(outcome);
            }
        }
        out.into_bytes()
    }

    /// Reads an output.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let looked = match r.u8("what a look shows")? {
            0 => Looked::NoSession { evicted: r.bool("evicted")? },
            1 => Looked::NotYet,
            2 => Looked::Gone,
            3 => {
                let round = r.round("round looked at")?;
                let position = StepPosition { round, vector: r.digest("vector looked at")? };
                let index = r.u32("index looked at")?;
                let outcome = Bytes::copy_from_slice(r.var(MAX_FRAME, "outcome looked at")?);
                Looked::Stored { position, index, outcome }
            }
            _ => return Err(r.error("what a look shows")),
        };
        r.finish()?;
        Ok(looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Digest, Round};

    #[test]
    fn looks_and_what_they_show_have_one_encoding() {
        let look = Look { session: SessionId(7), number: u64::MAX };
        let bytes = look.to_command().bytes;
        assert_eq!(Look::parse(&bytes), Ok(look));
        assert!(Look::parse(&bytes[1..]).is_err());
        assert!(Look::parse(&[&bytes[..], b"x"].concat()).is_err());
        let position = StepPosition { round: Round(4), vector: Digest([5; 32]) };
        for looked in [
            Looked::NoSession { evicted: false },
            Looked::NoSession { evicted: true },
            Looked::NotYet,
            Looked::Gone,
            Looked::Stored { position, index: 3, outcome: Bytes::from_static(b"abc") },
        ] {
            let bytes = looked.to_bytes();
            assert_eq!(Looked::parse(&bytes), Ok(looked));
            assert!(Looked::parse(&bytes[..bytes.len() - 1]).is_err());
            assert!(Looked::parse(&[&bytes[..], b"x"].concat()).is_err());
        }
        assert!(Looked::parse(&[9]).is_err() && Looked::parse(&[0, 2]).is_err());
    }
}
