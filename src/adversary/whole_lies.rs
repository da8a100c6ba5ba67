//! Lies about large results (C3): one replica is to send the whole, the others a digest.
//!
//! The digests that such a liar gives are right, so that it is counted among those who agree: what
//! it keeps back or spoils is the whole.

use super::{Attack, Fate};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions};
use crate::types::{LinkId, Now, ReplicaId};
use crate::wire::{Digests, Frame, Kind, Message, Replies, Reply, ReplyDigest};
use bytes::Bytes;

/// A lie about large results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WholeLie {
    /// Digests only, of small results too and when asked again: the whole is always another's.
    DigestOnly,
    /// Right digests, and wholes of the right size that they are not of.
    UnfittingWhole,
    /// Right digests, and no wholes.
    NoWhole,
}

impl WholeLie {
    /// All of them.
    pub const ALL: [WholeLie; 3] =
        [WholeLie::DigestOnly, WholeLie::UnfittingWhole, WholeLie::NoWhole];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WholeLie::DigestOnly => "digest-only",
            WholeLie::UnfittingWhole => "unfitting-whole",
            WholeLie::NoWhole => "no-whole",
        }
    }
}

impl<S: Scheme> Attack<S> for WholeLie {
    fn name(&self) -> &'static str {
        WholeLie::name(*self)
    }

    fn replies(&mut self, _: Now, _: LinkId, replies: &mut Replies) -> Fate {
        match self {
            WholeLie::DigestOnly => Fate::Keep,
            WholeLie::NoWhole => Fate::Drop,
            WholeLie::UnfittingWhole => {
                replies.replies.iter_mut().for_each(spoil);
                Fate::Changed
            }
        }
    }

    fn act(&mut self, _: Now, action: Action, out: &mut Actions) {
        out.push(match (*self, action) {
            (WholeLie::DigestOnly, Action::ToClient { link, frame }) => {
                Action::ToClient { link, frame: shortened(&frame).unwrap_or(frame) }
            }
            (_, action) => action,
        });
    }
}

// The last byte is one of the last output's.
fn spoil(reply: &mut Reply) {
    let mut bytes = reply.outcome.to_vec();
    bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    reply.outcome = bytes.into();
}

// The same replies by their digests, if the frame holds replies.
fn shortened(frame: &Bytes) -> Option<Bytes> {
    let frame = Frame::parse(frame.clone()).ok().filter(|f| f.kind == Kind::Replies)?;
    let Replies { position, rolled, replies } = Replies::from_body(&frame.body).ok()?;
    let another = ReplicaId::from_index(0);
    let digests = replies.iter().map(|reply| ReplyDigest::of(reply, another)).collect();
    Some(Digests { position, rolled, digests }.to_frame(frame.group).into())
}
