//! TLS 1.3 with raw ed25519 keys on both sides.

use super::{Admit, LinkClass, TransportError};
use crate::crypto::{Ed25519, PublicKey, Scheme as _, SecretKey};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::UnixTime;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// What goes before the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// What goes before the 32 bytes of a seed in a PKCS#8 version 1 key (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Who this process is, ready for handshakes.
#[derive(Clone)]
pub(super) struct Identity {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Identity {
    /// Prepares a key.
    pub fn new(secret: &SecretKey) -> Result<Self, TransportError> {
        let mut pkcs8 = Zeroizing::new([0; 48]);
        pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[16..].copy_from_slice(secret.seed());
        let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))
            .map_err(|e| TransportError::Key(e.to_string()))?;
        let spki = CertificateDer::from(spki_of(&secret.public()));
        Ok(Self { provider: provider(), key: Arc::new(CertifiedKey::new(vec![spki], key)) })
    }

    /// The configuration for dialling one peer.
    pub fn dialler(&self, pin: Arc<Pin>, class: LinkClass) -> Result<QuicClientConfig, TlsError> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pin)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.key.clone(),
            )));
        config.alpn_protocols = vec![class.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(QuicClientConfig::try_from(config)?)
    }

    /// The configuration for accepting one peer: one per handshake, since the verifier must know
    /// the protocol name that this very peer asked for.
    pub fn acceptor(&self, admit: Admit) -> Result<QuicServerConfig, TlsError> {
        let doorman = Arc::new(Doorman {
            key: self.key.clone(),
            provider: self.provider.clone(),
            admit,
            class: AtomicU8::new(NO_CLASS),
        });
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(doorman.clone())
            .with_cert_resolver(doorman);
        config.alpn_protocols =
            vec![LinkClass::Replica.alpn().to_vec(), LinkClass::Client.alpn().to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(QuicServerConfig::try_from(config)?)
    }

    /// A dialler that offers what ours never would.
    #[cfg(test)]
    pub fn foreign(&self, pin: Arc<Pin>, alpn: &[&[u8]], with_key: bool) -> QuicClientConfig {
        let builder = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(pin);
        let key = AlwaysResolvesClientRawPublicKeys::new(self.key.clone());
        let mut config = match with_key {
            true => builder.with_client_cert_resolver(Arc::new(key)),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        QuicClientConfig::try_from(config).unwrap()
    }
}

/// TLS could not be set up; does not depend on the peer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Suite(#[from] NoInitialCipherSuite),
}

/// The key of the peer at the other end of a connection whose handshake is done.
pub(super) fn peer_key(identity: Option<Box<dyn Any>>) -> Option<PublicKey> {
    let chain = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match chain.as_slice() {
        [only] => key_of(only).ok(),
        _ => None,
    }
}

/// Accepts one key of a server and remembers what it saw.
#[derive(Debug)]
pub(super) struct Pin {
    expected: PublicKey,
    presented: OnceLock<PublicKey>,
    provider: Arc<CryptoProvider>,
}

impl Pin {
    /// For one connection.
    pub fn new(expected: PublicKey, identity: &Identity) -> Arc<Self> {
        let provider = identity.provider.clone();
        Arc::new(Self { expected, presented: OnceLock::new(), provider })
    }

    /// The key that the server showed, if it came so far.
    pub fn presented(&self) -> Option<PublicKey> {
        self.presented.get().copied()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = single_key(end_entity, intermediates)?;
        // Set once: a connection has one handshake.
        let _ = self.presented.set(key);
        if key != self.expected {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

const NO_CLASS: u8 = u8::MAX;

/// Stands at the door of one handshake: learns from the ClientHello which class is asked for, and
/// then judges the client's key for that class.
struct Doorman {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    admit: Admit,
    class: AtomicU8,
}

impl Doorman {
    fn class(&self) -> Option<LinkClass> {
        let number = self.class.load(Ordering::Relaxed);
        [LinkClass::Replica, LinkClass::Client].into_iter().find(|class| *class as u8 == number)
    }
}

impl fmt::Debug for Doorman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doorman({:?})", self.class())
    }
}

impl ResolvesServerCert for Doorman {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten().filter_map(LinkClass::of_alpn);
        let (first, second) = (offered.next(), offered.next());
        self.class.store(first.map_or(NO_CLASS, |class| class as u8), Ordering::Relaxed);
        // A peer that offers both classes leaves the choice to us; ours never does. One that
        // offers neither goes on to rustls, which has the right alert for it.
        second.is_none().then(|| self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Doorman {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = single_key(end_entity, intermediates)?;
        match self.class() {
            Some(class) if (self.admit)(&key, class) => Ok(ClientCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

// X25519 only: a post-quantum share makes the first flight two packets. AES-128-GCM is also what
// QUIC protects its first packets with, and three times as fast as ChaCha20 on such machines.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    Arc::new(provider)
}

fn spki_of(key: &PublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], &key.0[..]].concat()
}

// The key, if it is a single raw ed25519 key that is neither weak nor oddly encoded (B27).
fn single_key(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<PublicKey, rustls::Error> {
    if !intermediates.is_empty() {
        return Err(CertificateError::BadEncoding.into());
    }
    let key = key_of(end_entity)?;
    Ed25519::verifier(&key).map_err(|_| CertificateError::BadEncoding)?;
    Ok(key)
}

fn key_of(spki: &[u8]) -> Result<PublicKey, CertificateError> {
    let key = spki.strip_prefix(&SPKI_PREFIX).and_then(|rest| rest.try_into().ok());
    key.map(PublicKey).ok_or(CertificateError::BadEncoding)
}

fn verify_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
    let schemes = &provider.signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &spki, dss, schemes)
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ed25519_keys_are_read() {
        let key = SecretKey::from_seed([1; 32]).public();
        let spki = spki_of(&key);
        assert_eq!(key_of(&spki), Ok(key));
        assert!(key_of(&spki[..43]).is_err());
        assert!(key_of(&[&spki[..], &[0]].concat()).is_err());
        let mut other = spki.clone();
        other[8] = 0x71;
        assert!(key_of(&other).is_err());
    }

    /// B27: a small-order key, for which anybody can sign, and a chain.
    #[test]
    fn weak_keys_and_chains_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let weak = CertificateDer::from(spki_of(&PublicKey(neutral)));
        assert!(single_key(&weak, &[]).is_err());
        let good = CertificateDer::from(spki_of(&SecretKey::from_seed([1; 32]).public()));
        assert!(single_key(&good, &[]).is_ok());
        assert!(single_key(&good, std::slice::from_ref(&good)).is_err());
    }
}
