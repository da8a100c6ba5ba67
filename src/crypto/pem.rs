//! Keys as text: PKCS#8 and SPKI in PEM, and public keys in one line.
//!
//! Private keys are written as PKCS#8 **version 1**, which is what `openssl genpkey` writes and
//! the only version that OpenSSL 3.0 reads. Both versions are read; a public key that comes with
//! a private one must belong to it. Every public key is checked: no weak key, one encoding only.

use super::{Ed25519, KeyError, PublicKey, Scheme, SecretKey};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{self, ALGORITHM_ID, DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::pkcs8::{EncodePublicKey, KeypairBytes, OctetStringRef, PrivateKeyInfoRef};
use ed25519_dalek::pkcs8::{PublicKeyBytes, SecretDocument, spki};
use zeroize::{Zeroize, Zeroizing};

/// Why a text is not the key that was asked for. The message says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No PEM block at all.
    #[error(
        "no PEM block found; the text must have a line -----BEGIN {0}----- \
         (make keys with `quorate keygen` or `openssl genpkey -algorithm ed25519`)"
    )]
    NoBlock(&'static str),
    /// A private key stands where a public one is expected.
    #[error(
        "this is a private key where a public key is expected; \
         name the .pub.pem file, or run `openssl pkey -in FILE -pubout`"
    )]
    PrivateForPublic,
    /// A public key stands where a private one is expected.
    #[error("this is a public key where a private key is expected; name the file without .pub")]
    PublicForPrivate,
    /// A private key under a passphrase.
    #[error(
        "this private key is encrypted; write it without a passphrase first: \
         `openssl pkey -in FILE -out NEW`, then `chmod 600 NEW`"
    )]
    Encrypted,
    /// A PEM block of another kind.
    #[error("this is a PEM block of the kind {found:?}; an ed25519 key stands in {expected:?}")]
    OtherBlock {
        /// The label as it stands in the text, cut to 40 characters.
        found: String,
        /// The label that was expected.
        expected: &'static str,
    },
    /// A key for another algorithm.
    #[error(
        "this is a key for {0}; Quorate uses ed25519 only \
         (`quorate keygen` or `openssl genpkey -algorithm ed25519`)"
    )]
    OtherAlgorithm(String),
    /// The block cannot be read.
    #[error("the PEM block is damaged: {0}")]
    Damaged(String),
    /// The public key that comes with a private key is another's.
    #[error("the public key inside of this private key file does not belong to the private key")]
    Mismatch,
    /// The key itself is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// The twelve bytes in front of the key in an ed25519 SPKI, in base64. They end on a whole base64
/// group, so that a bare key in base64 can be appended.
const SPKI_PREFIX: &str = "MCowBQYDK2VwAyEA";

/// How the base64 of an ed25519 PKCS#8 private key begins, version 1 and version 2.
const PKCS8_PREFIXES: [&str; 2] = ["MC4CAQAwBQYDK2Vw", "MFECAQEwBQYDK2Vw"];

impl SecretKey {
    /// The key as PKCS#8 version 1 in PEM; wiped from memory when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        // As `KeypairBytes` would write it, but its buffer on the stack is not wiped.
        let mut octets = Zeroizing::new([0; 34]);
        octets[..2].copy_from_slice(&[0x04, 0x20]);
        octets[2..].copy_from_slice(self.seed());
        let octets = OctetStringRef::new(&octets[..]).expect("34 bytes are an octet string");
        let info = PrivateKeyInfoRef::new(ALGORITHM_ID, octets);
        SecretDocument::encode_msg(&info)
            .and_then(|der| der.to_pem(PRIVATE, LineEnding::LF))
            .expect("32 bytes always fit PKCS#8")
    }

    /// Reads a PKCS#8 private key in PEM. What stands around the block is ignored.
    ///
    /// # Errors
    /// [`PemError`]; it never quotes the key.
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let block = block_of(text, PRIVATE)?;
        let mut pair = KeypairBytes::from_pkcs8_pem(block).map_err(private_error)?;
        let key = SecretKey::from_seed(pair.secret_key);
        pair.secret_key.zeroize();
        match pair.public_key {
            Some(public) if public.0 != key.public().0 => Err(PemError::Mismatch),
            _ => Ok(key),
        }
    }
}

impl PublicKey {
    /// The key as SPKI in PEM.
    pub fn to_pem(&self) -> String {
        PublicKeyBytes(self.0).to_public_key_pem(LineEnding::LF).expect("32 bytes always fit SPKI")
    }

    /// The key in one line: the base64 between the lines of [`PublicKey::to_pem`], for cluster
    /// files. [`PublicKey::from_inline`] reads it.
    pub fn to_inline(&self) -> String {
        self.to_pem().lines().filter(|line| !line.starts_with('-')).collect()
    }

    /// Reads an SPKI public key in PEM and checks it. What stands around the block is ignored.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let block = block_of(text, PUBLIC)?;
        let bytes = PublicKeyBytes::from_public_key_pem(block).map_err(public_error)?;
        checked(bytes.0)
    }

    /// Reads a public key that is written out in place: PEM, the base64 inside of it, the 32 bytes
    /// in base64, or in 64 hexadecimal digits. `None` if the text looks like none of these, and so
    /// is meant as something else, such as a path.
    ///
    /// # Errors
    /// [`PemError`] if it looks like one but is not usable.
    pub fn from_inline(text: &str) -> Option<Result<Self, PemError>> {
        let text = text.trim();
        if text.contains("-----BEGIN") {
            return Some(Self::from_pem(text));
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let bytes = from_hex(text).expect("64 hexadecimal digits are 32 bytes");
            return Some(checked(bytes));
        }
        if PKCS8_PREFIXES.iter().any(|p| text.starts_with(p)) {
            return Some(Err(PemError::PrivateForPublic));
        }
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/".contains(&b);
        let body = text.strip_suffix('=').filter(|b| b.bytes().all(base64))?;
        let spki = match (body.len(), body.starts_with(SPKI_PREFIX)) {
            (59, true) => text.to_owned(),
            (43, _) => format!("{SPKI_PREFIX}{text}"),
            _ => return None,
        };
        Some(Self::from_pem(&format!("-----BEGIN {PUBLIC}-----\n{spki}\n-----END {PUBLIC}-----\n")))
    }
}

/// 32 bytes written as 64 hexadecimal digits, upper or lower case; `None` for anything else.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte");
    }
    Some(bytes)
}

fn checked(bytes: [u8; 32]) -> Result<PublicKey, PemError> {
    let key = PublicKey(bytes);
    Ed25519::verifier(&key)?;
    Ok(key)
}

/// The first PEM block of the text, if its label is the expected one. Keys made by other programs
/// come with notes around the block, such as those of `openssl pkey -text`.
fn block_of<'a>(text: &'a str, expected: &'static str) -> Result<&'a str, PemError> {
    const BEGIN: &str = "-----BEGIN ";
    let start = text.find(BEGIN).ok_or(PemError::NoBlock(expected))?;
    let block = &text[start..];
    let label = block[BEGIN.len()..].split("-----").next().unwrap_or_default();
    if label != expected {
        return Err(other_block(label, expected));
    }
    let end = format!("-----END {expected}-----");
    let length = block.find(&end).ok_or_else(|| {
        PemError::Damaged(format!("its last line {end} is missing; copy the whole file"))
    })?;
    Ok(&block[..length + end.len()])
}

fn other_block(label: &str, expected: &'static str) -> PemError {
    let algorithm = |name: &str| PemError::OtherAlgorithm(name.to_owned());
    match label {
        PRIVATE => PemError::PrivateForPublic,
        PUBLIC => PemError::PublicForPrivate,
        "ENCRYPTED PRIVATE KEY" => PemError::Encrypted,
        "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => algorithm("RSA"),
        "EC PRIVATE KEY" | "EC PARAMETERS" => algorithm("an elliptic curve other than ed25519"),
        "DSA PRIVATE KEY" => algorithm("DSA"),
        other => {
            let first = other.lines().next().unwrap_or_default();
            PemError::OtherBlock { found: first.chars().take(40).collect(), expected }
        }
    }
}

fn private_error(e: pkcs8::Error) -> PemError {
    match e {
        pkcs8::Error::PublicKey(e) => public_error(e),
        pkcs8::Error::KeyMalformed(_) => {
            PemError::Damaged("the private key inside is not 32 bytes".to_owned())
        }
        other => PemError::Damaged(other.to_string()),
    }
}

fn public_error(e: spki::Error) -> PemError {
    match e {
        spki::Error::OidUnknown { oid } => PemError::OtherAlgorithm(algorithm_name(oid)),
        spki::Error::KeyMalformed => {
            PemError::Damaged("the public key inside is not 32 bytes".to_owned())
        }
        other => PemError::Damaged(other.to_string()),
    }
}

fn algorithm_name(oid: pkcs8::ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => "RSA".to_owned(),
        "1.2.840.10045.2.1" => "an elliptic curve other than ed25519 (ECDSA)".to_owned(),
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.113" => "ed448".to_owned(),
        other => format!("the algorithm {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Digest;
    use ed25519_dalek::pkcs8::EncodePrivateKey;

    fn key() -> SecretKey {
        SecretKey::from_seed([7; 32])
    }

    #[test]
    fn keys_come_back_from_their_text() {
        let (secret, public) = (key(), key().public());
        assert_eq!(SecretKey::from_pem(&secret.to_pem()).unwrap().seed(), secret.seed());
        assert_eq!(PublicKey::from_pem(&public.to_pem()), Ok(public));
    }

    #[test]
    fn private_keys_are_written_as_version_one() {
        // 48 bytes of DER: version 2 would carry the public key and be longer.
        let pem = key().to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI"), "{}", *pem);
        assert_eq!(pem.lines().count(), 3);
    }

    #[test]
    fn notes_around_a_block_and_crlf_do_not_matter() {
        let text = format!("my key\n{}ED25519 Private-Key:\n", *key().to_pem());
        assert!(SecretKey::from_pem(&text).is_ok());
        assert!(SecretKey::from_pem(&key().to_pem().replace('\n', "\r\n")).is_ok());
    }

    #[test]
    fn a_version_two_key_is_read_and_its_public_key_is_checked() {
        let pair = |public| KeypairBytes { secret_key: [7; 32], public_key: Some(public) };
        let own = pair(PublicKeyBytes(key().public().0)).to_pkcs8_pem(LineEnding::LF).unwrap();
        assert!(SecretKey::from_pem(&own).is_ok());
        let other = PublicKeyBytes(SecretKey::from_seed([8; 32]).public().0);
        let foreign = pair(other).to_pkcs8_pem(LineEnding::LF).unwrap();
        assert_eq!(SecretKey::from_pem(&foreign).unwrap_err(), PemError::Mismatch);
    }

    #[test]
    fn the_wrong_kind_of_file_is_named() {
        let (secret, public) = (key().to_pem(), key().public().to_pem());
        assert_eq!(SecretKey::from_pem(&public).unwrap_err(), PemError::PublicForPrivate);
        assert_eq!(PublicKey::from_pem(&secret), Err(PemError::PrivateForPublic));
        let relabelled = |label: &str| secret.replace("PRIVATE KEY", label);
        let refusal = |label| SecretKey::from_pem(&relabelled(label)).unwrap_err().to_string();
        assert!(refusal("ENCRYPTED PRIVATE KEY").contains("openssl pkey -in FILE -out NEW"));
        assert!(refusal("RSA PRIVATE KEY").contains("a key for RSA"));
        assert!(refusal("EC PRIVATE KEY").contains("elliptic curve"));
        assert!(refusal("CERTIFICATE").contains("CERTIFICATE"));
        assert!(refusal("OPENSSH PRIVATE KEY").contains("OPENSSH"));
        assert!(SecretKey::from_pem("hello").unwrap_err().to_string().contains("keygen"));
    }

    #[test]
    fn weak_and_non_canonical_public_keys_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let weak = PublicKey::from_pem(&PublicKey(neutral).to_pem());
        assert_eq!(weak, Err(PemError::Key(KeyError::Weak)));
        // y = p + 3 is the same point as y = 3 in an encoding that nobody else writes.
        let mut other = [0xff; 32];
        (other[0], other[31]) = (0xed + 3, 0x7f);
        let refused = PublicKey::from_pem(&PublicKey(other).to_pem());
        assert!(matches!(refused, Err(PemError::Key(_))), "{refused:?}");
    }

    #[test]
    fn one_line_forms_of_public_keys() {
        let key = key().public();
        let hex = Digest(key.0).to_hex();
        let inline = key.to_inline();
        let bare = inline.strip_prefix(SPKI_PREFIX).unwrap();
        let pem = key.to_pem();
        for text in [&*hex, &hex.to_uppercase(), &inline, bare, &pem, &format!(" {inline}\n")] {
            assert_eq!(PublicKey::from_inline(text), Some(Ok(key)), "{text}");
        }
        for path in ["keys/replica-1.pub.pem", "", "=", "/etc/quorate/r1.pem", "äöü="] {
            assert_eq!(PublicKey::from_inline(path), None, "{path}");
        }
        assert!(PublicKey::from_inline(&"0".repeat(64)).unwrap().is_err());
        // A private key pasted without its first line is named as such, never taken for a path.
        let pem = self::key().to_pem();
        let private = pem.lines().nth(1).unwrap();
        assert_eq!(PublicKey::from_inline(private), Some(Err(PemError::PrivateForPublic)));
    }

    #[test]
    fn a_key_cut_or_changed_anywhere_never_panics_and_never_passes_for_another_kind() {
        let pem = key().to_pem();
        for cut in 0..pem.len() - 1 {
            assert!(SecretKey::from_pem(&pem[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..pem.len() {
            for byte in [b'A', b'-', b'\n', b'='] {
                let mut changed = pem.as_bytes().to_vec();
                changed[at] = byte;
                let text = String::from_utf8(changed).unwrap();
                let _ = SecretKey::from_pem(&text);
                let _ = PublicKey::from_pem(&text);
            }
        }
    }
}
