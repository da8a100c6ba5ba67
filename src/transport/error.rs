//! What went wrong, and what a person can do about it.

use super::LinkClass;
use crate::crypto::PublicKey;
use quinn::ConnectionError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Codes in the closing frame of a connection.
pub(super) mod code {
    use quinn::VarInt;

    /// Closed on purpose.
    pub const CLOSED: VarInt = VarInt::from_u32(0);
    /// The key is not admitted.
    pub const NOT_ADMITTED: VarInt = VarInt::from_u32(1);
    /// The other side broke the rules, or does not read.
    pub const FAULT: VarInt = VarInt::from_u32(2);
}

// TLS alerts as QUIC carries them: 0x100 and the alert's number.
const ALERT_ACCESS_DENIED: u64 = 0x100 + 49;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const CONNECTION_REFUSED: u64 = 0x2;

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address is taken, not of this host, or not allowed.
    #[error("cannot listen on UDP {address}: {source}; stop what uses it, or correct the address")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The secret key cannot be used for TLS.
    #[error("the secret key cannot be used for TLS: {0}; make a new one with `quorate keygen`")]
    Key(String),
    /// Settings that contradict each other.
    #[error("transport settings: {0}")]
    Settings(String),
    /// Made outside of a tokio runtime: a mistake in the program.
    #[error("an endpoint must be made inside of a tokio runtime")]
    NoRuntime,
}

/// Why a link did not come about, or broke before its first frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing, or nothing in time, came from the address.
    #[error(
        "no answer from {peer} within {after:?}: is it running, and does UDP reach it through \
         every firewall?"
    )]
    NoAnswer {
        /// The address.
        peer: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// Somebody else answers at the address.
    #[error(
        "{peer} answers with key {}, expected key {}: correct its address or its public_key in the \
         cluster file",
        .presented.fingerprint(), .expected.fingerprint()
    )]
    WrongKey {
        /// The address.
        peer: SocketAddr,
        /// The key that was dialled.
        expected: PublicKey,
        /// The key that answered.
        presented: PublicKey,
    },
    /// The other side does not admit our key.
    #[error(
        "{peer} does not admit our key as a {class}: is it in that replica's configuration, as a \
         {class}?"
    )]
    NotAdmitted {
        /// The address.
        peer: SocketAddr,
        /// The class that was asked for.
        class: LinkClass,
    },
    /// The other side speaks QUIC but not this protocol, or not this version of it.
    #[error(
        "{peer} does not speak our protocol {alpn}: run the same release everywhere, or correct \
            the address"
    )]
    OtherProtocol {
        /// The address.
        peer: SocketAddr,
        /// Our protocol's name.
        alpn: String,
    },
    /// The other side has too many handshakes under way.
    #[error("{peer} is too busy for another handshake, or shutting down; try again later")]
    Busy {
        /// The address.
        peer: SocketAddr,
    },
    /// The TLS handshake failed for another reason.
    #[error("the handshake with {peer} failed: {reason}; compare the releases on both sides")]
    Handshake {
        /// The address.
        peer: SocketAddr,
        /// What TLS said.
        reason: String,
    },
    /// The other side closed the link and said why.
    #[error("{peer} closed the link: {reason}")]
    Closed {
        /// The address.
        peer: SocketAddr,
        /// The other side's words, made printable.
        reason: String,
    },
    /// The other side's first bytes were not what they must be.
    #[error("{peer} broke the protocol: {reason}; compare the releases on both sides")]
    Protocol {
        /// The address.
        peer: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// The connection broke without a word.
    #[error("the connection to {peer} was lost: {reason}; its log may say more")]
    Lost {
        /// The address.
        peer: SocketAddr,
        /// What is known.
        reason: String,
    },
    /// The dialled address cannot be used, or this endpoint is closed.
    #[error("cannot dial {peer}: {reason}")]
    CannotDial {
        /// The address.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// Whom we were talking to when a connection broke.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub peer: SocketAddr,
    pub class: LinkClass,
    /// How long was waited at most.
    pub patience: Duration,
}

impl Talk {
    /// The error for a person that a connection error amounts to.
    pub fn error(&self, error: ConnectionError) -> LinkError {
        let Talk { peer, class, patience } = *self;
        match error {
            ConnectionError::TimedOut => LinkError::NoAnswer { peer, after: patience },
            ConnectionError::VersionMismatch => self.other_protocol(),
            ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
                ALERT_ACCESS_DENIED => LinkError::NotAdmitted { peer, class },
                ALERT_NO_APPLICATION_PROTOCOL => self.other_protocol(),
                CONNECTION_REFUSED => LinkError::Busy { peer },
                number if ALERTS.contains(&number) => {
                    LinkError::Handshake { peer, reason: alert_text(number, &close.reason) }
                }
                _ => LinkError::Lost { peer, reason: printable(close.to_string().as_bytes()) },
            },
            ConnectionError::ApplicationClosed(close) => match close.error_code {
                code::NOT_ADMITTED => LinkError::NotAdmitted { peer, class },
                _ => LinkError::Closed { peer, reason: printable(&close.reason) },
            },
            ConnectionError::TransportError(e) if ALERTS.contains(&u64::from(e.code)) => {
                LinkError::Handshake {
                    peer,
                    reason: alert_text(u64::from(e.code), e.reason.as_bytes()),
                }
            }
            other => LinkError::Lost { peer, reason: other.to_string() },
        }
    }

    /// The other side negotiated another protocol or none.
    pub fn other_protocol(&self) -> LinkError {
        let alpn = String::from_utf8_lossy(self.class.alpn()).into_owned();
        LinkError::OtherProtocol { peer: self.peer, alpn }
    }

    /// The other side took too long.
    pub fn no_answer(&self) -> LinkError {
        LinkError::NoAnswer { peer: self.peer, after: self.patience }
    }

    /// The other side's first bytes are wrong.
    pub fn broken(&self, what: impl fmt::Display) -> LinkError {
        LinkError::Protocol { peer: self.peer, reason: what.to_string() }
    }
}

fn alert_text(number: u64, reason: &[u8]) -> String {
    let alert = number.saturating_sub(*ALERTS.start());
    match printable(reason) {
        text if text.is_empty() => format!("TLS alert {alert}"),
        text => format!("TLS alert {alert}, {text}"),
    }
}

/// Text from the other side, safe to print: no control characters, at most
/// [`super::MAX_REASON`] bytes.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    clip(&clean).to_owned()
}

/// The longest prefix that a closing frame may carry.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(super::MAX_REASON)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_other_side_are_made_printable_and_short() {
        assert_eq!(printable(b"bad\x1b[31m\nline"), "bad?[31m?line");
        assert_eq!(printable(&[0xff, b'a']), "\u{fffd}a");
        let long = "ü".repeat(150);
        assert_eq!(clip(&long).len(), 200);
        assert_eq!(clip(&format!("a{long}")).len(), 199);
    }
}
