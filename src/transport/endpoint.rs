//! The socket: dialling, accepting, closing.

use super::connected::{Accepted, Dialled, Handshaken};
use super::error::{Talk, clip, code, printable};
use super::gate::{Gate, Handshakes, Ticket, Verdict};
use super::seldom::Seldom;
use super::socket::Socket;
use super::tls::{Identity, Pin, TlsError, peer_key};
use super::{Admit, LinkClass, LinkError, Settings, TransportError};
use crate::crypto::{PublicKey, SecretKey};
use quinn::crypto::HmacKey;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Admitted peers that the caller has not taken yet; more wait inside of their handshake's count.
const ACCEPTED: usize = 64;
/// Newcomers between the socket and the gate, and what is kept of their packets: the gate takes
/// them at once, so these are small.
const MAX_INCOMING: usize = 256;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 2 << 20;
/// Refused strangers in the log, a second.
const STRANGERS_LOGGED: u32 = 5;
/// The drafts before it are not spoken.
const QUIC_VERSION_1: u32 = 1;
/// TLS wants a server name; it is neither sent nor looked at.
const NAME: &str = "replica";

/// One UDP socket over which a process dials others and, if it has an [`Admit`], accepts links.
///
/// Lives on the tokio runtime it was made in. Dropping it closes its links; so does
/// [`Endpoint::close`], which waits until they are gone.
pub struct Endpoint {
    inner: quinn::Endpoint,
    identity: Identity,
    settings: Arc<Settings>,
    address: SocketAddr,
    buffers: SocketBuffers,
    gate: Arc<Gate>,
    shutdown: watch::Sender<Option<String>>,
    // Absent on an endpoint that only dials.
    acceptor: Option<JoinHandle<()>>,
    accepted: Mutex<mpsc::Receiver<Accepted>>,
}

/// What the operating system gave of the socket buffers asked for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// For receiving.
    pub receive: usize,
    /// For sending.
    pub send: usize,
}

impl Endpoint {
    /// Binds the socket and, with an `admit`, starts to accept. Port 0 picks a free port.
    ///
    /// # Errors
    /// [`TransportError`], if the address, the key or the settings cannot be used, or outside of
    /// a tokio runtime.
    pub fn bind(
        listen: SocketAddr,
        key: &SecretKey,
        admit: Option<Admit>,
        settings: Settings,
    ) -> Result<Endpoint, TransportError> {
        settings.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(TransportError::NoRuntime);
        }
        let identity = Identity::new(key)?;
        let bind_error = |source| TransportError::Bind { address: listen, source };
        let (socket, buffers) = open_socket(listen, settings.socket_buffer).map_err(bind_error)?;
        let address = socket.local_addr().map_err(bind_error)?;
        let accepting = match &admit {
            Some(admit) => Some(server_config(&identity, admit, &settings)?),
            None => None,
        };
        let config = endpoint_config(key, admit.is_some(), &settings)?;
        let runtime = Arc::new(TokioRuntime);
        let socket = Socket::new(socket, settings.max_datagram(), &TokioRuntime);
        let socket = Arc::new(socket.map_err(bind_error)?);
        let inner =
            quinn::Endpoint::new_with_abstract_socket(config, accepting.clone(), socket, runtime);
        let inner = inner.map_err(bind_error)?;
        report(&buffers, &settings, address);

        let settings = Arc::new(settings);
        let gate = Gate::new(&settings);
        let (shutdown, stopping) = watch::channel(None);
        let (hand_over, accepted) = mpsc::channel(ACCEPTED);
        let acceptor = admit.zip(accepting).map(|(admit, template)| {
            let (identity, settings) = (identity.clone(), settings.clone());
            let strangers = Seldom::new(STRANGERS_LOGGED);
            let context =
                Context { identity, admit, settings, template, hand_over, stopping, strangers };
            tokio::spawn(accept_all(inner.clone(), gate.clone(), Arc::new(context)))
        });
        let accepted = Mutex::new(accepted);
        Ok(Self { inner, identity, settings, address, buffers, gate, shutdown, acceptor, accepted })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The socket buffers that the operating system gave.
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// Counters of incoming handshakes.
    pub fn handshakes(&self) -> Handshakes {
        self.gate.counters()
    }

    /// The next peer whose handshake is done and whose key is admitted. Strangers are never seen
    /// here, and one that is slow holds up nobody. `None` once the endpoint is closed, or at once
    /// if it only dials. May be dropped and called again.
    pub async fn accept(&self) -> Option<Accepted> {
        self.accepted.lock().await.recv().await
    }

    /// Connects to a peer whose key must be `expect`. That this succeeds does not say that the
    /// peer admits our key: [`Dialled::wait`] does.
    ///
    /// # Errors
    /// [`LinkError`] says what a person can do about it.
    pub async fn dial(
        &self,
        to: SocketAddr,
        expect: &PublicKey,
        class: LinkClass,
    ) -> Result<Dialled, LinkError> {
        let talk = Talk { peer: to, class, patience: self.settings.handshake_timeout };
        let cannot = |reason: String| LinkError::CannotDial { peer: to, reason };
        let pin = Pin::new(*expect, &self.identity);
        let tls = self.identity.dialler(pin.clone(), class).map_err(|e| cannot(e.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(self.settings.for_dialler(class));
        let connecting =
            self.inner.connect_with(config, to, NAME).map_err(|e| cannot(e.to_string()))?;
        let connection = match timeout(talk.patience, connecting).await {
            Err(_) => return Err(talk.no_answer()),
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                return Err(match pin.presented() {
                    Some(presented) if presented != *expect => {
                        LinkError::WrongKey { peer: to, expected: *expect, presented }
                    }
                    _ => talk.error(error),
                });
            }
        };
        if class_of(&connection) != Some(class) {
            return Err(talk.other_protocol());
        }
        if peer_key(connection.peer_identity()) != Some(*expect) {
            return Err(talk.broken("its key changed after the handshake"));
        }
        let (settings, shutdown) = (self.settings.clone(), self.shutdown.subscribe());
        Ok(Dialled(Handshaken { connection, peer: *expect, class, settings, shutdown }))
    }

    /// Accepts no more, closes all links with this reason after delivering what they had sent
    /// ([`Settings::close_grace`]), and waits until the other sides know or a second more is over.
    pub async fn close(&self, reason: &str) {
        self.inner.set_server_config(None);
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
        self.shutdown.send_replace(Some(clip(reason).to_owned()));
        let limit = self.settings.close_grace.saturating_add(Duration::from_millis(500));
        let _ = timeout(limit, self.inner.wait_idle()).await;
        // What is left are handshakes, and links that the caller has not opened.
        self.inner.close(code::CLOSED, clip(reason).as_bytes());
        let _ = timeout(Duration::from_millis(500), self.inner.wait_idle()).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
    }
}

// What every incoming handshake needs.
struct Context {
    identity: Identity,
    admit: Admit,
    settings: Arc<Settings>,
    template: ServerConfig,
    hand_over: mpsc::Sender<Accepted>,
    stopping: watch::Receiver<Option<String>>,
    strangers: Seldom,
}

impl Context {
    // That a key is missing in a roster is noticed on this side; strangers must not fill the log.
    fn refused(&self, from: SocketAddr, key: &PublicKey, class: LinkClass) {
        let Some(withheld) = self.strangers.allow(Instant::now()) else { return };
        tracing::info!(
            %from, key = key.fingerprint(), %class, withheld,
            "refused a key that is not admitted; add it to the cluster file if it should be"
        );
    }
}

// Shakes hands with all that the gate lets in, each in a task of its own; dropping this ends them.
async fn accept_all(endpoint: quinn::Endpoint, gate: Arc<Gate>, context: Arc<Context>) {
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = handshakes.join_next() => continue,
        };
        let Some(incoming) = incoming else { return };
        let validated = incoming.remote_address_validated();
        match gate.enter(incoming.remote_address().ip(), validated) {
            Verdict::Enter(ticket) => {
                handshakes.spawn(shake_hands(incoming, ticket, context.clone()));
            }
            Verdict::Retry => {
                if let Err(e) = incoming.retry() {
                    e.into_incoming().refuse();
                }
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

async fn shake_hands(incoming: Incoming, ticket: Ticket, context: Arc<Context>) {
    let from = incoming.remote_address();
    // The last key that was turned away in this handshake.
    let stranger = Arc::new(OnceLock::new());
    let (admit, turned_away) = (context.admit.clone(), stranger.clone());
    let admit: Admit = Arc::new(move |key, class| {
        let admitted = admit(key, class);
        if !admitted {
            // It is asked again only after a yes: at most one answer of a handshake is no.
            let _ = turned_away.set((*key, class));
        }
        admitted
    });
    let tls = match context.identity.acceptor(admit.clone()) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "cannot set up TLS for an incoming link");
            return;
        }
    };
    let mut config = context.template.clone();
    config.crypto = Arc::new(tls);
    let connecting = match incoming.accept_with(Arc::new(config)) {
        Ok(connecting) => connecting,
        Err(error) => return failed(from, &error),
    };
    let connection = match timeout(context.settings.handshake_timeout, connecting).await {
        Err(_) => return tracing::debug!(%from, "handshake timed out"),
        Ok(Err(error)) => match stranger.get() {
            Some((key, class)) => return context.refused(from, key, *class),
            None => return failed(from, &error),
        },
        Ok(Ok(connection)) => connection,
    };
    let (peer, class) = (peer_key(connection.peer_identity()), class_of(&connection));
    let (Some(peer), Some(class)) = (peer, class) else {
        return connection.close(code::FAULT, b"no single key, or an unknown protocol");
    };
    // The verifier asked already, but for the protocol name of a ClientHello that the peer may
    // have sent a second version of; and the roster may have changed since.
    if !admit(&peer, class) {
        context.refused(from, &peer, class);
        return connection.close(code::NOT_ADMITTED, b"this key is not admitted");
    }
    let (settings, shutdown) = (context.settings.clone(), context.stopping.clone());
    let accepted = Accepted(Handshaken { connection, peer, class, settings, shutdown });
    if context.hand_over.send(accepted).await.is_ok() {
        ticket.admitted();
    }
}

// The words in it may be a stranger's.
fn failed(from: SocketAddr, error: &ConnectionError) {
    tracing::debug!(%from, error = printable(error.to_string().as_bytes()), "handshake failed");
}

fn class_of(connection: &Connection) -> Option<LinkClass> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    LinkClass::of_alpn(&data.protocol?)
}

fn server_config(
    identity: &Identity,
    admit: &Admit,
    settings: &Settings,
) -> Result<ServerConfig, TransportError> {
    let tls = identity
        .acceptor(admit.clone())
        .map_err(|e: TlsError| TransportError::Key(e.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(settings.for_acceptor())
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    Ok(config)
}

// A replica that restarted tells the peers of its earlier life at once that it knows their
// connections no more: that takes connection ids and reset tokens that it can make again. An
// endpoint that only dials has no fixed port, so its earlier peers could not reach it anyway; and
// several of them may share a key, which must not share reset tokens (RFC 9000, 21.11).
fn endpoint_config(
    key: &SecretKey,
    accepting: bool,
    settings: &Settings,
) -> Result<EndpointConfig, TransportError> {
    let mut config = EndpointConfig::default();
    if accepting {
        config = EndpointConfig::new(Arc::new(ResetKey(key.derive("quic stateless reset"))));
        let seed = key.derive("quic connection ids");
        let seed = seed.first_chunk().expect("a derived secret has 32 bytes");
        let seed = u64::from_le_bytes(*seed);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(seed)));
    }
    config
        .supported_versions(vec![QUIC_VERSION_1])
        .max_udp_payload_size(settings.max_datagram())
        .map_err(|e| TransportError::Settings(e.to_string()))?;
    Ok(config)
}

/// Makes the tokens of stateless resets.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        // Comparing a `blake3::Hash` takes the same time wherever the difference is.
        match blake3::keyed_hash(&self.0, data) == *signature {
            true => Ok(()),
            false => Err(quinn::crypto::CryptoError),
        }
    }
}

fn open_socket(listen: SocketAddr, buffer: usize) -> io::Result<(UdpSocket, SocketBuffers)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        // Best effort: some hosts have no sockets for both families.
        let _ = socket.set_only_v6(false);
    }
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    let granted = SocketBuffers {
        receive: granted(socket.recv_buffer_size()?),
        send: granted(socket.send_buffer_size()?),
    };
    socket.bind(&listen.into())?;
    Ok((socket.into(), granted))
}

// Linux reports twice what it gave, counting its own book-keeping.
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

fn report(granted: &SocketBuffers, settings: &Settings, address: SocketAddr) {
    let SocketBuffers { receive, send } = *granted;
    let asked = settings.socket_buffer;
    match receive.min(send) < asked {
        true => tracing::warn!(
            %address, receive, send, asked,
            "socket buffers are smaller than asked for, packets may be lost under load; raise \
             net.core.rmem_max and net.core.wmem_max"
        ),
        false => tracing::info!(%address, receive, send, "listening"),
    }
}
