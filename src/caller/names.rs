//! Names that callers choose for requests (rule C2).

use crate::crypto::{Domain, Hasher};
use crate::types::{ClientId, ID_SEPARATOR, SessionId};
use std::fmt;

/// Bytes of a name at most.
const LONGEST: usize = 128;

/// A name for one request of a client. The request is the first one of a session of its own, whose
/// nonce follows from the client's key and the name: whoever has both can ask what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestName(String);

impl RequestName {
    /// Takes a name: 1 to 128 bytes without spaces, control characters and `~`, which stands in
    /// ids that clients are given.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > LONGEST {
            return Err(format!("a request's name has 1 to {LONGEST} bytes, not {}", name.len()));
        }
        match name.chars().find(|c| c.is_whitespace() || c.is_control() || *c == ID_SEPARATOR) {
            None => Ok(Self(name.to_owned())),
            Some(c) => Err(format!("a request's name has no {c:?}: choose another one")),
        }
    }

    /// Its session.
    pub fn session(&self, client: &ClientId) -> SessionId {
        let mut h = Hasher::new(Domain::Derive);
        h.put(b"request name").put(&client.0).put_var(self.0.as_bytes());
        let digest = h.finish();
        let (first, _) = digest.0.split_first_chunk::<8>().expect("a digest has 32 bytes");
        match u64::from_le_bytes(*first) {
            0 => SessionId(1),
            nonce => SessionId(nonce),
        }
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_look_like_no_id() {
        for good in ["a", "order-17", "urn:uuid:1f3a", "caf\u{e9}", &"x".repeat(128)] {
            assert_eq!(RequestName::new(good).unwrap().to_string(), good);
        }
        for bad in ["", "a b", "a\n", "1f~2~abc", &"x".repeat(129)] {
            assert!(RequestName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_follows_from_key_and_name() {
        let session =
            |client: u8, name| RequestName::new(name).unwrap().session(&ClientId([client; 32]));
        assert_eq!(session(1, "a"), session(1, "a"));
        assert_ne!(session(1, "a"), session(2, "a"));
        assert_ne!(session(1, "a"), session(1, "b"));
    }
}
