//! The printable id of a request, or of one call in it.

use super::{ClientId, Digest, SessionId};
use std::fmt::Write as _;

/// Names one request of a client for people and other programs (rule C2):
/// `1f3a01c277b0e4d1~42~k7q`.
///
/// In front stand the session's 16 digits, in a cluster with several chains followed by `@` and the
/// chain's number if that is not 0; then the request's number. `.3` after it is the call whose only
/// output is number 3 of the request, counted from 0, and `.3+2` one with two outputs from there:
/// calls that wait together travel in one request. The last three characters are a check over all
/// of it, the cluster and the client's key: a slip of the pen and another client's id are refused,
/// and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The number of the chain; 0 where replicas vote.
    pub chain: u32,
    /// The session.
    pub session: SessionId,
    /// The request's number in it, from 1.
    pub number: u64,
    /// Which of the request's outputs are the call's; `None`: all.
    pub part: Option<CallPart>,
}

/// The outputs of one call among those of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallPart {
    /// The place of the first, counted from 0.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
}

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallIdError {
    /// It does not look like one.
    #[error("it is no id like 1f3a01c277b0e4d1~42~k7q: copy the whole of it")]
    Shape,
    /// Its last three characters do not fit the rest, this cluster and this key.
    #[error(
        "its last three characters do not fit: it was copied wrongly, or it is the id of a request \
         of another key or cluster"
    )]
    Check,
}

/// Between the parts of an id, and in no name that a client may choose.
pub const ID_SEPARATOR: char = '~';

/// The prime below 32 to the power of three.
const MODULUS: u32 = 32_749;
/// No letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl CallId {
    /// The id as people copy it.
    pub fn text(&self, cluster: &Digest, client: &ClientId) -> String {
        let mut text = format!("{:016x}", self.session.0);
        let write = |text: &mut String, args: std::fmt::Arguments<'_>| {
            text.write_fmt(args).expect("a string takes all");
        };
        if self.chain > 0 {
            write(&mut text, format_args!("@{}", self.chain));
        }
        write(&mut text, format_args!("{ID_SEPARATOR}{}", self.number));
        match self.part {
            None => {}
            Some(CallPart { first, count: 1 }) => write(&mut text, format_args!(".{first}")),
            Some(CallPart { first, count }) => write(&mut text, format_args!(".{first}+{count}")),
        }
        let check = check(&text, cluster, client);
        text.push(ID_SEPARATOR);
        text.push_str(&check);
        text
    }

    /// Reads what [`CallId::text`] gave: each id has one text.
    ///
    /// # Errors
    /// If it is none, or none of this cluster and client.
    pub fn parse(text: &str, cluster: &Digest, client: &ClientId) -> Result<Self, CallIdError> {
        let (named, _) = text.rsplit_once(ID_SEPARATOR).ok_or(CallIdError::Shape)?;
        let id = Self::read(named).ok_or(CallIdError::Shape)?;
        match id.text(cluster, client) == text {
            true => Ok(id),
            false => Err(CallIdError::Check),
        }
    }

    fn read(named: &str) -> Option<Self> {
        let (place, numbers) = named.split_once(ID_SEPARATOR)?;
        let (session, chain) = match place.split_once('@') {
            Some((session, chain)) => (session, chain.parse().ok()?),
            None => (place, 0),
        };
        let session = SessionId(u64::from_str_radix(session, 16).ok()?);
        let (number, part) = match numbers.split_once('.') {
            Some((number, part)) => (number, Some(part)),
            None => (numbers, None),
        };
        let number = number.parse().ok().filter(|n| *n > 0)?;
        let part = match part.map(|part| part.split_once('+').unwrap_or((part, "1"))) {
            None => None,
            Some((first, count)) => {
                let count = count.parse().ok().filter(|n| *n > 0)?;
                Some(CallPart { first: first.parse().ok()?, count })
            }
        };
        Some(Self { chain, session, number, part })
    }

    /// The id of the whole request.
    pub fn whole(self) -> Self {
        Self { part: None, ..self }
    }
}

/// Two texts of one length that differ in one character, or in the order of two neighbours, have
/// different checks.
fn check(text: &str, cluster: &Digest, client: &ClientId) -> String {
    let bytes = cluster.0.iter().chain(&client.0).copied().chain(text.bytes());
    let sum = bytes.fold(0, |sum: u32, byte| (sum * 257 + u32::from(byte) + 1) % MODULUS);
    [sum >> 10, sum >> 5 & 31, sum & 31].iter().map(|d| char::from(ALPHABET[*d as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Digest = Digest([7; 32]);
    const CLIENT: ClientId = ClientId([9; 32]);

    fn id() -> CallId {
        let part = Some(CallPart { first: 3, count: 1 });
        CallId { chain: 2, session: SessionId(0x1f3a_01c2), number: 42, part }
    }

    #[test]
    fn every_id_has_one_text() {
        let whole = CallId { chain: 0, ..id() }.whole();
        let two = Some(CallPart { first: 3, count: 2 });
        for (id, named) in [
            (whole, "000000001f3a01c2~42"),
            (id(), "000000001f3a01c2@2~42.3"),
            (CallId { part: two, ..id() }, "000000001f3a01c2@2~42.3+2"),
            (CallId { session: SessionId(u64::MAX), ..whole }, "ffffffffffffffff~42"),
        ] {
            let text = id.text(&CLUSTER, &CLIENT);
            assert!(text.starts_with(&format!("{named}~")), "{text}");
            assert_eq!(text.len(), named.len() + 4);
            assert_eq!(CallId::parse(&text, &CLUSTER, &CLIENT), Ok(id));
            // Other ways to write the same numbers are none.
            for other in [text.to_uppercase(), text.replace("~42", "~042"), format!("+{text}")] {
                assert!(CallId::parse(&other, &CLUSTER, &CLIENT).is_err(), "{other}");
            }
        }
    }

    #[test]
    fn one_wrong_character_or_two_exchanged_are_refused() {
        let text = id().text(&CLUSTER, &CLIENT);
        for at in 0..text.len() {
            for other in "0123456789abcdefghijklmnopqrstuvwxyz~@.+".chars() {
                let mut wrong: Vec<char> = text.chars().collect();
                let before = std::mem::replace(&mut wrong[at], other);
                let wrong: String = wrong.into_iter().collect();
                let is_same = before == other;
                assert_eq!(CallId::parse(&wrong, &CLUSTER, &CLIENT).is_ok(), is_same, "{wrong}");
            }
            let mut wrong: Vec<char> = text.chars().collect();
            if at > 0 && wrong[at] != wrong[at - 1] {
                wrong.swap(at, at - 1);
                let wrong: String = wrong.into_iter().collect();
                assert!(CallId::parse(&wrong, &CLUSTER, &CLIENT).is_err(), "{wrong}");
            }
            assert!(CallId::parse(&text[..at], &CLUSTER, &CLIENT).is_err());
        }
    }

    #[test]
    fn an_id_of_another_key_or_cluster_is_refused() {
        let text = id().text(&CLUSTER, &CLIENT);
        let refused = Err(CallIdError::Check);
        assert_eq!(CallId::parse(&text, &CLUSTER, &ClientId([8; 32])), refused);
        assert_eq!(CallId::parse(&text, &Digest([8; 32]), &CLIENT), refused);
    }
}
