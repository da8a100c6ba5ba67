//! Lies told to clients (B18, B19). Ordering is honest; the voter must see through them (C1).
//!
//! What a lie makes of a reply depends on that reply alone, so that several liars tell the same
//! lie: `t` equal wrong answers are the worst that a voter can be shown.

use super::{Attack, Fate, Noise, UnknownLie, by_name};
use crate::crypto::Scheme;
use crate::replica::{Action, Actions};
use crate::types::{LinkId, Now, SessionId};
use crate::wire::{Digests, Outcome, Replies, Reply};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::str::FromStr;

/// A lie about replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyLie {
    /// Another output than the executed one, told twice in case somebody counts messages.
    WrongOutput,
    /// The right output at a position that does not exist.
    CorruptDigest,
    /// No replies at all.
    SilentReply,
    /// The outcome of an earlier request of that session.
    StaleReply,
    /// One of these, anew for each message.
    Random,
}

impl ReplyLie {
    /// All of them.
    pub const ALL: [ReplyLie; 5] = [
        ReplyLie::WrongOutput,
        ReplyLie::CorruptDigest,
        ReplyLie::SilentReply,
        ReplyLie::StaleReply,
        ReplyLie::Random,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ReplyLie::WrongOutput => "wrong-output",
            ReplyLie::CorruptDigest => "corrupt-digest",
            ReplyLie::SilentReply => "silent-reply",
            ReplyLie::StaleReply => "stale-reply",
            ReplyLie::Random => "random",
        }
    }

    /// The attack that tells it.
    pub fn attack(self, seed: u64) -> LyingReplies {
        LyingReplies { lie: self, noise: Noise::new(seed), last: BTreeMap::new() }
    }
}

impl FromStr for ReplyLie {
    type Err = UnknownLie;

    fn from_str(given: &str) -> Result<Self, UnknownLie> {
        by_name(given, Self::ALL.into_iter(), Self::name)
    }
}

/// The attack behind every [`ReplyLie`].
pub struct LyingReplies {
    lie: ReplyLie,
    noise: Noise,
    /// The last outcome told on a link in a session.
    last: BTreeMap<(LinkId, SessionId), Bytes>,
}

impl<S: Scheme> Attack<S> for LyingReplies {
    fn name(&self) -> &'static str {
        self.lie.name()
    }

    fn act(&mut self, _: Now, action: Action, out: &mut Actions) {
        if self.lie == ReplyLie::WrongOutput && matches!(action, Action::ToClient { .. }) {
            out.push(action.clone());
        }
        out.push(action);
    }

    fn replies(&mut self, _: Now, to: LinkId, replies: &mut Replies) -> Fate {
        let lie = match self.lie {
            ReplyLie::Random => *self.noise.pick(&ReplyLie::ALL[..4]),
            lie => lie,
        };
        // What a stale reply will be made of later.
        let news = replies.replies.iter().map(|r| ((to, r.session), r.outcome.clone()));
        let news: Vec<_> = news.collect();
        match lie {
            ReplyLie::WrongOutput => replies.replies.iter_mut().for_each(wrong_output),
            ReplyLie::CorruptDigest => replies.position.vector.0[0] ^= 0x80,
            ReplyLie::SilentReply => return Fate::Drop,
            ReplyLie::StaleReply | ReplyLie::Random => {
                for reply in &mut replies.replies {
                    let older = self.last.get(&(to, reply.session));
                    reply.outcome = older.cloned().unwrap_or_else(|| Outcome::Opened.to_bytes());
                }
            }
        }
        self.last.extend(news);
        Fate::Changed
    }

    // C3: the same about results that are told by their digests.
    fn digests(&mut self, _: Now, _: LinkId, digests: &mut Digests) -> Fate {
        let lie = match self.lie {
            ReplyLie::Random => *self.noise.pick(&ReplyLie::ALL[..4]),
            lie => lie,
        };
        match lie {
            ReplyLie::SilentReply => return Fate::Drop,
            ReplyLie::CorruptDigest => digests.position.vector.0[0] ^= 0x80,
            ReplyLie::WrongOutput | ReplyLie::StaleReply | ReplyLie::Random => {
                digests.digests.iter_mut().for_each(|d| d.outcome.output.0[0] ^= 0x80);
            }
        }
        Fate::Changed
    }
}

// An outcome of the same shape, so that nothing but the comparison gives it away.
fn wrong_output(reply: &mut Reply) {
    let told = match Outcome::parse(&reply.outcome) {
        Ok(Outcome::Executed(outputs)) => Outcome::Executed(outputs.iter().map(other).collect()),
        // A client that gets no session asks nothing and cannot be deceived.
        Ok(Outcome::Opened) => Outcome::Opened,
        _ => Outcome::Executed(vec![Bytes::from_static(b"a lie")]),
    };
    reply.outcome = told.to_bytes();
}

fn other(output: &Bytes) -> Bytes {
    let mut bytes = output.to_vec();
    match bytes.last_mut() {
        Some(last) => *last ^= 1,
        None => bytes.push(1),
    }
    bytes.into()
}
