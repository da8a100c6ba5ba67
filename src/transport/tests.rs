//! Links over loopback. Deadlines are generous and only there to turn a hang into a failure.

use super::connected::Dialled;
use super::error::Talk;
use super::tls::{Identity, Pin};
use super::*;
use crate::crypto::SecretKey;
use crate::types::GroupId;
use crate::wire::{Frame, Kind, MAX_FRAME, Message as _, OPEN_FRAME, Ping};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);
const REPLICA: u8 = 1;
const DIALLER: u8 = 2;
const CLIENT: u8 = 3;
const STRANGER: u8 = 9;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn settings() -> Settings {
    Settings {
        idle_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(30),
        ..Settings::default()
    }
}

fn roster() -> Admit {
    Arc::new(|key, class| match class {
        LinkClass::Replica => [REPLICA, DIALLER].iter().any(|n| secret(*n).public() == *key),
        LinkClass::Client => secret(CLIENT).public() == *key,
    })
}

fn acceptor(settings: Settings) -> Endpoint {
    Endpoint::bind(loopback(), &secret(REPLICA), Some(roster()), settings).unwrap()
}

fn dialler(n: u8, settings: Settings) -> Endpoint {
    Endpoint::bind(loopback(), &secret(n), None, settings).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("happens before the deadline")
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn ping(n: u64) -> Vec<u8> {
    Ping { sent: n, wall: 0 }.to_frame(GroupId::MAIN)
}

fn raw(kind: Kind, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 5).unwrap();
    let mut out = length.to_le_bytes().to_vec();
    out.push(kind as u8);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(body);
    out
}

async fn dial(from: &Endpoint, to: &Endpoint, class: LinkClass) -> Result<Dialled, LinkError> {
    soon(from.dial(to.local_addr(), &secret(REPLICA).public(), class)).await
}

/// How an attempt to get a link fails, wherever in it that shows.
async fn refusal(from: &Endpoint, to: &Endpoint, class: LinkClass) -> LinkError {
    match dial(from, to, class).await {
        Err(error) => error,
        Ok(dialled) => soon(dialled.wait()).await.map(|_| ()).expect_err("must be refused"),
    }
}

async fn linked(acceptor: &Endpoint, from: &Endpoint, class: LinkClass) -> (Link, Link) {
    let accepting = async {
        let accepted = acceptor.accept().await.unwrap();
        assert_eq!(accepted.class(), class);
        let mut link = accepted.open(&raw(Kind::Hello, b"acceptor")).await.unwrap();
        assert_eq!(link.first().await.unwrap().body, b"dialler"[..]);
        link
    };
    let dialling = async {
        let (link, hello) = dial(from, acceptor, class).await.unwrap().wait().await.unwrap();
        assert_eq!((hello.kind, &hello.body[..]), (Kind::Hello, &b"acceptor"[..]));
        assert!(link.send(Lane::Protocol, &raw(Kind::Greeting, b"dialler")));
        link.flush();
        link
    };
    soon(async { tokio::join!(accepting, dialling) }).await
}

/// Two linked endpoints whose events come out of one channel, the acceptor's under `a`.
struct Pair {
    a: Link,
    d: Link,
    events: mpsc::Receiver<(char, LinkEvent)>,
    acceptor: Endpoint,
    dialler: Endpoint,
}

impl Pair {
    async fn new(class: LinkClass, settings: Settings) -> Self {
        let acceptor = acceptor(settings.clone());
        let key = if class == LinkClass::Replica { DIALLER } else { CLIENT };
        let dialler = dialler(key, settings);
        let (mut a, mut d) = linked(&acceptor, &dialler, class).await;
        let (sender, events) = mpsc::channel(16);
        a.start(sender.clone(), 'a');
        d.start(sender, 'd');
        Self { a, d, events, acceptor, dialler }
    }

    async fn next(&mut self) -> (char, LinkEvent) {
        soon(self.events.recv()).await.unwrap()
    }

    /// How the link ended for one side; frames before that are dropped.
    async fn closed(&mut self, side: char) -> (CloseCause, String) {
        loop {
            if let (at, LinkEvent::Closed { cause, reason }) = self.next().await
                && at == side
            {
                return (cause, reason);
            }
        }
    }
}

#[tokio::test]
async fn frames_flow_in_order_both_ways_on_both_lanes() {
    const BLOCKS: u64 = 12;
    const PINGS: u64 = 300;
    let mut pair = Pair::new(LinkClass::Replica, settings()).await;
    assert_eq!(pair.a.peer(), secret(DIALLER).public());
    assert_eq!(pair.d.peer(), secret(REPLICA).public());
    assert_eq!(pair.d.remote(), pair.acceptor.local_addr());
    assert_eq!(pair.a.remote(), pair.dialler.local_addr());
    for side in [&pair.a, &pair.d] {
        for block in 0..BLOCKS {
            let mut body = vec![0xab; MAX_FRAME - 5];
            body[..8].copy_from_slice(&block.to_le_bytes());
            assert!(side.send(Lane::Bulk, &raw(Kind::Body, &body)));
        }
        side.flush();
    }
    pair.d.send(Lane::Protocol, &ping(0));
    pair.d.flush();

    let mut blocks = BTreeMap::from([('a', 0), ('d', 0)]);
    let mut pings = 0;
    while pings < PINGS || blocks.values().any(|n| *n < BLOCKS) {
        let (side, LinkEvent::Frames { lane, frames }) = pair.next().await else {
            panic!("closed");
        };
        assert!(!frames.is_empty());
        for frame in frames {
            match lane {
                Lane::Bulk => {
                    let next = blocks.get_mut(&side).unwrap();
                    assert_eq!(frame.body.len(), MAX_FRAME - 5);
                    assert_eq!(frame.body[..8], next.to_le_bytes());
                    *next += 1;
                }
                Lane::Protocol => {
                    let n = Ping::from_body(&frame.body).unwrap().sent;
                    assert_eq!((n, side), (pings, if n % 2 == 0 { 'a' } else { 'd' }));
                    pings += 1;
                    let link = if side == 'a' { &pair.a } else { &pair.d };
                    link.send(Lane::Protocol, &ping(pings));
                    link.flush();
                }
            }
        }
    }
    eventually(|| pair.a.queued() == 0 && pair.d.queued() == 0).await;
}

/// A peer that reads no bulk, so that its window is full and our buffer too, still gets what the
/// protocol sends.
#[tokio::test]
async fn unread_bulk_does_not_hold_up_the_protocol() {
    let small = Settings { stream_window: 64 * 1024, ..settings() };
    let acceptor = acceptor(small.clone());
    let identity = Identity::new(&secret(DIALLER)).unwrap();
    let pin = Pin::new(secret(REPLICA).public(), &identity);
    let config = identity.dialler(pin, LinkClass::Replica).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(config));
    config.transport_config(small.for_dialler(LinkClass::Replica));
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let connecting = endpoint.connect_with(config, acceptor.local_addr(), "x").unwrap();
    let (connection, accepted) = soon(async { tokio::join!(connecting, acceptor.accept()) }).await;
    let (connection, accepted) = (connection.unwrap(), accepted.unwrap());
    let link = soon(accepted.open(&ping(0))).await.unwrap();
    let (_send, mut protocol) = soon(connection.accept_bi()).await.unwrap();
    let _bulk = soon(connection.accept_bi()).await.unwrap();

    const BULK: usize = 4 << 20;
    link.send(Lane::Bulk, &raw(Kind::Body, &[0; MAX_FRAME - 5]));
    link.flush();
    let taken = MAX_FRAME - 64 * 1024;
    eventually(|| link.queued() <= taken + 64).await;
    for _ in 1..BULK / MAX_FRAME {
        link.send(Lane::Bulk, &raw(Kind::Body, &[0; MAX_FRAME - 5]));
    }
    for n in 1..50 {
        link.send(Lane::Protocol, &ping(n));
        link.flush();
    }
    let mut bytes = vec![0; 50 * ping(0).len()];
    soon(protocol.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, (0..50).flat_map(ping).collect::<Vec<u8>>());
    assert!(link.queued() > BULK - 2 * MAX_FRAME);
}

#[tokio::test]
async fn a_client_link_has_one_stream_for_both_lanes() {
    let mut pair = Pair::new(LinkClass::Client, settings()).await;
    assert_eq!(pair.a.class(), LinkClass::Client);
    pair.d.send(Lane::Protocol, &ping(1));
    pair.d.send(Lane::Bulk, &ping(2));
    pair.d.send(Lane::Protocol, &ping(3));
    pair.d.flush();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let ('a', LinkEvent::Frames { lane: Lane::Protocol, frames }) = pair.next().await else {
            panic!("something else");
        };
        seen.extend(frames.iter().map(|f| Ping::from_body(&f.body).unwrap().sent));
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[tokio::test]
async fn another_key_at_the_address_is_named() {
    let acceptor = acceptor(settings());
    let dialler = dialler(DIALLER, settings());
    let expected = secret(STRANGER).public();
    let dialled = soon(dialler.dial(acceptor.local_addr(), &expected, LinkClass::Replica)).await;
    let presented = secret(REPLICA).public();
    let peer = acceptor.local_addr();
    assert_eq!(dialled.err(), Some(LinkError::WrongKey { peer, expected, presented }));
}

/// B28, B29: strangers, and keys under the other class, get no link and stay in no counter.
#[tokio::test]
async fn keys_outside_of_the_roster_or_under_the_other_class_are_refused() {
    let acceptor = acceptor(settings());
    let peer = acceptor.local_addr();
    let wrong = [
        (STRANGER, LinkClass::Replica),
        (STRANGER, LinkClass::Client),
        (CLIENT, LinkClass::Replica),
        (DIALLER, LinkClass::Client),
    ];
    for (key, class) in wrong {
        let error = refusal(&dialler(key, settings()), &acceptor, class).await;
        assert_eq!(error, LinkError::NotAdmitted { peer, class });
    }
    eventually(|| acceptor.handshakes().pending == 0).await;
    let counters = acceptor.handshakes();
    assert_eq!((counters.admitted, counters.failed), (0, 4));
    // None of them waits to be accepted: the next one is the one that may.
    linked(&acceptor, &dialler(CLIENT, settings()), LinkClass::Client).await;
    eventually(|| acceptor.handshakes().pending == 0).await;
    assert_eq!(acceptor.handshakes().admitted, 1);
}

/// The handshake itself refuses, not only the question after it.
#[tokio::test]
async fn the_verifier_refuses_with_the_class_that_was_asked_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let admit: Admit = Arc::new(move |_, class| {
        assert_eq!(class, LinkClass::Replica);
        count.fetch_add(1, Ordering::Relaxed) > 0
    });
    let acceptor = Endpoint::bind(loopback(), &secret(REPLICA), Some(admit), settings()).unwrap();
    let from = dialler(DIALLER, settings());
    let error = refusal(&from, &acceptor, LinkClass::Replica).await;
    assert!(matches!(error, LinkError::NotAdmitted { .. }), "{error}");
    eventually(|| acceptor.handshakes().failed == 1).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// A key that is removed between the verifier's question and the second one is out.
#[tokio::test]
async fn the_second_question_refuses_too() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let admit: Admit = Arc::new(move |_, _| count.fetch_add(1, Ordering::Relaxed) == 0);
    let acceptor = Endpoint::bind(loopback(), &secret(REPLICA), Some(admit), settings()).unwrap();
    let from = dialler(DIALLER, settings());
    let error = refusal(&from, &acceptor, LinkClass::Replica).await;
    assert!(matches!(error, LinkError::NotAdmitted { .. }), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Sessions are never resumed: a key that leaves the roster is out at its next handshake.
#[tokio::test]
async fn the_verifier_runs_in_every_handshake() {
    let (asked, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, gate) = (asked.clone(), open.clone());
    let admit: Admit = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        gate.load(Ordering::Relaxed)
    });
    let acceptor = Endpoint::bind(loopback(), &secret(REPLICA), Some(admit), settings()).unwrap();
    let from = dialler(DIALLER, settings());
    for n in 1..=5 {
        let (a, d) = linked(&acceptor, &from, LinkClass::Replica).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2 * n);
        a.close("next");
        d.close("next");
    }
    open.store(false, Ordering::Relaxed);
    let error = refusal(&from, &acceptor, LinkClass::Replica).await;
    assert!(matches!(error, LinkError::NotAdmitted { .. }), "{error}");
}

/// The same for a dialler that would resume its sessions if it were given tickets.
#[tokio::test]
async fn no_tickets_are_given() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let admit: Admit = Arc::new(move |_, _| count.fetch_add(1, Ordering::Relaxed) < usize::MAX);
    let acceptor = Endpoint::bind(loopback(), &secret(REPLICA), Some(admit), settings()).unwrap();
    let identity = Identity::new(&secret(CLIENT)).unwrap();
    let pin = Pin::new(secret(REPLICA).public(), &identity);
    let config = identity.foreign(pin, &[LinkClass::Client.alpn()], true);
    let config = quinn::ClientConfig::new(Arc::new(config));
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    for n in 1..=5 {
        let connecting = endpoint.connect_with(config.clone(), acceptor.local_addr(), "x").unwrap();
        let (connection, accepted) =
            soon(async { tokio::join!(connecting, acceptor.accept()) }).await;
        let _link = soon(accepted.unwrap().open(&ping(0))).await.unwrap();
        // Tickets would come before the first frame.
        let (_, mut stream) = soon(connection.unwrap().accept_bi()).await.unwrap();
        soon(stream.read_chunk(1, true)).await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2 * n);
    }
}

/// A dialler that is not ours: any protocol names, with or without a key.
async fn foreign_dial(to: &Endpoint, alpn: &[&[u8]], with_key: bool) -> LinkError {
    let identity = Identity::new(&secret(CLIENT)).unwrap();
    let pin = Pin::new(secret(REPLICA).public(), &identity);
    let config = identity.foreign(pin, alpn, with_key);
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let connecting = endpoint.connect_with(config, to.local_addr(), "x").unwrap();
    let error = match soon(connecting).await {
        Err(error) => error,
        Ok(connection) => soon(connection.closed()).await,
    };
    let class = LinkClass::Client;
    Talk { peer: to.local_addr(), class, patience: DEADLINE }.error(error)
}

#[tokio::test]
async fn no_key_or_no_protocol_or_two_protocols_are_refused() {
    let acceptor = acceptor(settings());
    let ours = LinkClass::Client.alpn();
    let error = foreign_dial(&acceptor, &[ours], false).await;
    assert!(matches!(error, LinkError::Handshake { .. }), "{error:?}");
    for alpn in [&[&b"h3"[..]][..], &[]] {
        let error = foreign_dial(&acceptor, alpn, true).await;
        assert!(matches!(error, LinkError::OtherProtocol { .. }), "{error:?}");
    }
    let error = foreign_dial(&acceptor, &[ours, LinkClass::Replica.alpn()], true).await;
    assert!(matches!(error, LinkError::NotAdmitted { .. }), "{error:?}");
    eventually(|| acceptor.handshakes().failed == 4).await;
    assert_eq!(acceptor.handshakes().pending, 0);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_so() {
    let silent = UdpSocket::bind(loopback()).unwrap();
    let hasty = Settings { handshake_timeout: Duration::from_millis(200), ..settings() };
    let from = dialler(DIALLER, hasty);
    let to = silent.local_addr().unwrap();
    let dialled = soon(from.dial(to, &secret(REPLICA).public(), LinkClass::Replica)).await;
    let after = Duration::from_millis(200);
    assert_eq!(dialled.err(), Some(LinkError::NoAnswer { peer: to, after }));
}

/// A stable reset key tells the old links' other sides at once; by timeout it would take 600 s.
#[test]
fn a_restart_is_noticed_long_before_the_idle_timeout() {
    let patient = Settings { idle_timeout: Duration::from_secs(600), ..settings() };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let here = runtime();
    let from = here.block_on(async { dialler(DIALLER, patient.clone()) });
    let there = runtime();
    let (address, (sender, mut events)) = (loopback(), mpsc::channel(16));
    let first = there.block_on(async {
        Endpoint::bind(address, &secret(REPLICA), Some(roster()), patient.clone()).unwrap()
    });
    let address = first.local_addr();
    // The acceptor's runtime moves to a thread, and ends there without a word to the other side.
    let (ready, gone) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let thread = std::thread::spawn(move || {
        let link = there.block_on(async {
            let mut link = first.accept().await.unwrap().open(&ping(0)).await.unwrap();
            link.first().await.unwrap();
            link
        });
        ready.0.send(()).unwrap();
        gone.1.recv().unwrap();
        there.shutdown_background();
        drop((link, first));
    });
    let link = here.block_on(soon(async {
        let dialled = from.dial(address, &secret(REPLICA).public(), LinkClass::Replica).await;
        let (mut link, _) = dialled.unwrap().wait().await.unwrap();
        link.send(Lane::Protocol, &ping(0));
        link.flush();
        link.start(sender, ());
        link
    }));
    here.block_on(soon(async {
        while ready.1.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }));
    gone.0.send(()).unwrap();
    thread.join().unwrap();

    here.block_on(soon(async {
        let _second = Endpoint::bind(address, &secret(REPLICA), Some(roster()), patient).unwrap();
        link.send(Lane::Protocol, &ping(1));
        link.flush();
        let Some(((), LinkEvent::Closed { cause, reason })) = events.recv().await else {
            panic!("another event");
        };
        assert_eq!(cause, CloseCause::Lost);
        assert!(reason.contains("restarted"), "{reason}");
    }));
}

/// B28: a receiver that never reads costs its windows and the outbox, no more.
#[tokio::test]
async fn a_peer_that_never_reads_loses_its_link() {
    const LIMIT: usize = 1 << 20;
    let small = Settings { outbox_bytes: LIMIT, stream_window: 64 * 1024, ..settings() };
    let (acceptor, from) = (acceptor(small.clone()), dialler(DIALLER, small));
    let (mut a, d) = linked(&acceptor, &from, LinkClass::Replica).await;
    let (sender, mut events) = mpsc::channel(16);
    a.start(sender, ());
    let frame = raw(Kind::Body, &[7; 10_000]);
    let mut sent = 0;
    soon(async {
        while a.send(Lane::Protocol, &frame) {
            sent += frame.len();
            a.flush();
            assert!(a.queued() <= LIMIT);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(sent >= LIMIT - frame.len(), "{sent}");
    assert!(sent <= LIMIT + 4 * 64 * 1024, "{sent} bytes went somewhere");
    assert!(!a.send(Lane::Bulk, &frame));
    let Some(((), LinkEvent::Closed { cause, reason })) = soon(events.recv()).await else {
        panic!("another event");
    };
    assert_eq!(cause, CloseCause::Here);
    assert!(reason.contains("does not read"), "{reason}");
    drop(d);
}

/// B28: bulk that is not read is dropped beyond its limit; the protocol goes on.
#[tokio::test]
async fn too_much_bulk_loses_frames_and_not_the_link() {
    const LIMIT: usize = 1 << 20;
    let small = Settings { outbox_bytes: LIMIT, stream_window: 64 * 1024, ..settings() };
    let (acceptor, from) = (acceptor(small.clone()), dialler(DIALLER, small));
    let (a, d) = linked(&acceptor, &from, LinkClass::Replica).await;
    let frame = raw(Kind::Body, &[7; 10_000]);
    let fits = LIMIT / frame.len();
    for number in 0..3 * fits {
        assert_eq!(a.send(Lane::Bulk, &frame), number < fits);
    }
    assert!(a.queued() <= LIMIT);
    assert!(a.send(Lane::Protocol, &ping(1)), "the other lane has room of its own");
    a.flush();
    let (sender, mut events) = mpsc::channel(16);
    let mut d = d;
    d.start(sender, ());
    let (mut pings, mut bodies) = (0, 0);
    while (pings, bodies) != (1, fits) {
        match soon(events.recv()).await {
            Some(((), LinkEvent::Frames { lane: Lane::Protocol, frames })) => pings += frames.len(),
            Some(((), LinkEvent::Frames { lane: Lane::Bulk, frames })) => bodies += frames.len(),
            other => panic!("{other:?}"),
        }
    }
    eventually(|| a.queued() == 0).await;
    assert!(a.send(Lane::Bulk, &frame), "there is room again");
}

/// B25, B26: what is no frame ends the link, and the other side reads why.
#[tokio::test]
async fn garbage_closes_the_link_and_says_so() {
    let mut unknown = ping(1);
    unknown[4] = 200;
    let oversized = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes().to_vec();
    let cases = [
        (Lane::Protocol, vec![0xff; 64], "protocol stream: byte 0: frame length out of bounds"),
        (Lane::Protocol, oversized, "protocol stream: byte 0: frame length out of bounds"),
        (Lane::Bulk, unknown, "bulk stream: byte 4: unknown frame kind"),
        (Lane::Bulk, OPEN_FRAME.to_vec(), "bulk stream: an Open frame out of place"),
    ];
    for (lane, bytes, expected) in cases {
        let mut pair = Pair::new(LinkClass::Replica, settings()).await;
        pair.d.send(lane, &bytes);
        pair.d.flush();
        let (cause, reason) = pair.closed('d').await;
        assert_eq!(cause, CloseCause::Peer);
        assert!(reason.contains(expected), "{reason}");
        assert!(!pair.d.send(Lane::Protocol, &ping(1)) && !pair.a.send(Lane::Protocol, &ping(1)));
    }
}

#[tokio::test]
async fn garbage_instead_of_a_hello_fails_the_link() {
    let (acceptor, from) = (acceptor(settings()), dialler(DIALLER, settings()));
    let accepting = async {
        let accepted = acceptor.accept().await.unwrap();
        let link = accepted.open(&[0xff; 16]).await.unwrap();
        link.shared_for_tests().connection.closed().await
    };
    let (_, error) =
        soon(async { tokio::join!(accepting, refusal(&from, &acceptor, LinkClass::Replica)) })
            .await;
    assert!(
        matches!(&error, LinkError::Protocol { reason, .. } if reason.contains("frame length")),
        "{error}"
    );
}

#[tokio::test]
async fn closing_delivers_what_was_sent_before_and_the_reason() {
    const FRAMES: usize = 500;
    let mut pair = Pair::new(LinkClass::Replica, settings()).await;
    for n in 0..FRAMES {
        assert!(pair.a.send(Lane::Bulk, &raw(Kind::Body, &[n as u8; 1000])));
    }
    // Not even flushed.
    pair.a.close(&format!("leaving\n{}", "x".repeat(500)));
    assert!(!pair.a.send(Lane::Protocol, &ping(1)));
    let mut seen = 0;
    loop {
        match pair.next().await {
            ('d', LinkEvent::Frames { frames, .. }) => seen += frames.len(),
            ('d', LinkEvent::Closed { cause, reason }) => {
                assert_eq!(cause, CloseCause::Peer);
                assert!(
                    reason.starts_with("leaving?xxx") && reason.len() == MAX_REASON,
                    "{reason}"
                );
                break;
            }
            (_, LinkEvent::Closed { cause, .. }) => assert_eq!(cause, CloseCause::Here),
            (_, event) => panic!("{event:?}"),
        }
    }
    assert_eq!(seen, FRAMES);
}

#[tokio::test]
async fn dropping_a_link_and_losing_the_events_receiver_close_it() {
    let mut pair = Pair::new(LinkClass::Replica, settings()).await;
    drop(std::mem::replace(
        &mut pair.d,
        linked(&pair.acceptor, &pair.dialler, LinkClass::Replica).await.1,
    ));
    assert_eq!(pair.closed('a').await, (CloseCause::Peer, "no longer wanted".to_owned()));

    let (mut a, mut d) = linked(&pair.acceptor, &pair.dialler, LinkClass::Replica).await;
    a.start(mpsc::channel(1).0, ());
    let (sender, mut events) = mpsc::channel(1);
    d.start(sender, ());
    d.send(Lane::Protocol, &ping(1));
    d.flush();
    let Some(((), LinkEvent::Closed { reason, .. })) = soon(events.recv()).await else {
        panic!("another event");
    };
    assert!(reason.contains("nobody takes its frames"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_closes_its_links_and_accepts_no_more() {
    let mut pair = Pair::new(LinkClass::Replica, settings()).await;
    pair.a.send(Lane::Protocol, &ping(1));
    soon(pair.acceptor.close("shutting down")).await;
    let ('d', LinkEvent::Frames { .. }) = pair.next().await else { panic!("the ping is lost") };
    assert_eq!(pair.closed('d').await, (CloseCause::Peer, "shutting down".to_owned()));
    assert!(soon(pair.acceptor.accept()).await.is_none());
    assert!(soon(pair.dialler.accept()).await.is_none());
    let to = pair.acceptor.local_addr();
    let dialled = soon(pair.acceptor.dial(to, &secret(REPLICA).public(), LinkClass::Replica)).await;
    assert!(matches!(dialled.err(), Some(LinkError::CannotDial { .. })));
}

#[tokio::test]
async fn a_peer_that_is_turned_away_reads_why() {
    let (acceptor, from) = (acceptor(settings()), dialler(DIALLER, settings()));
    let accepting = async { acceptor.accept().await.unwrap().refuse("too many links of this key") };
    let ((), error) =
        soon(async { tokio::join!(accepting, refusal(&from, &acceptor, LinkClass::Replica)) })
            .await;
    let reason = "too many links of this key".to_owned();
    assert_eq!(error, LinkError::Closed { peer: acceptor.local_addr(), reason });
}

/// B28: the dialler may open no stream of its own, of either kind.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it does what nothing else may do")]
async fn a_dialler_that_opens_streams_gets_nowhere() {
    let mut pair = Pair::new(LinkClass::Client, settings()).await;
    let connection = pair.d.shared_for_tests().connection.clone();
    let pings = async {
        for n in 0..20 {
            pair.d.send(Lane::Protocol, &ping(n));
            pair.d.flush();
            let ('a', LinkEvent::Frames { .. }) = pair.next().await else { panic!("closed") };
        }
    };
    tokio::select! {
        biased;
        _ = connection.open_bi() => panic!("opened a bidirectional stream"),
        _ = connection.open_uni() => panic!("opened a unidirectional stream"),
        () = pings => {}
    }
}

/// The first datagrams of handshakes that will never be finished, each of another connection.
async fn half_open_handshakes(count: usize) -> Vec<Vec<u8>> {
    let trap = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let to = trap.local_addr().unwrap();
    let hasty = Settings { handshake_timeout: Duration::from_millis(20), ..settings() };
    let from = dialler(DIALLER, hasty);
    let (mut ids, mut datagrams) = (Vec::new(), Vec::new());
    let mut buffer = [0; 2048];
    while datagrams.len() < count {
        let key = secret(REPLICA).public();
        assert!(from.dial(to, &key, LinkClass::Replica).await.is_err());
        while let Ok(length) = trap.try_recv(&mut buffer) {
            // After the flags and the version comes the destination's connection id.
            let id = buffer[6..6 + usize::from(buffer[5])].to_vec();
            if !ids.contains(&id) {
                ids.push(id);
                datagrams.push(buffer[..length].to_vec());
            }
        }
    }
    datagrams
}

/// B28, B29: garbage and handshakes that stay half open hold up nobody and are forgotten.
#[tokio::test]
async fn half_open_handshakes_do_not_block_others() {
    const HALF_OPEN: usize = 12;
    let strict = Settings {
        handshake_timeout: Duration::from_secs(2),
        retry_above: 4,
        max_handshakes: 2,
        ..settings()
    };
    let acceptor = acceptor(strict);
    let attacker = UdpSocket::bind(loopback()).unwrap();
    let initials = soon(half_open_handshakes(HALF_OPEN)).await;
    for (n, initial) in initials.iter().enumerate() {
        attacker.send_to(initial, acceptor.local_addr()).unwrap();
        attacker.send_to(&initial[..60 + n], acceptor.local_addr()).unwrap();
        attacker.send_to(&[n as u8; 1200], acceptor.local_addr()).unwrap();
    }
    let seen = |c: Handshakes| c.pending + usize::try_from(c.retried + c.failed).unwrap();
    eventually(|| seen(acceptor.handshakes()) >= HALF_OPEN).await;
    assert!(acceptor.handshakes().pending <= 4 && acceptor.handshakes().retried > 0);

    // An honest one must show its address, and then gets through.
    let from = dialler(DIALLER, settings());
    linked(&acceptor, &from, LinkClass::Replica).await;
    eventually(|| acceptor.handshakes().pending == 0).await;
    assert_eq!(acceptor.handshakes().admitted, 1);
    assert_eq!(acceptor.handshakes().refused, 0);
}

/// QUIC Retry costs an honest dialler a round trip, no more.
#[tokio::test]
async fn a_dialler_shows_its_address_when_asked_to() {
    let acceptor = acceptor(Settings { retry_above: 0, ..settings() });
    linked(&acceptor, &dialler(CLIENT, settings()), LinkClass::Client).await;
    assert_eq!(acceptor.handshakes().retried, 1);
}

#[tokio::test]
async fn large_datagrams_and_no_offload_work_too() {
    let jumbo = Settings { mtu: Some(8900), gso: false, ..settings() };
    let mut pair = Pair::new(LinkClass::Replica, jumbo).await;
    pair.a.send(Lane::Bulk, &raw(Kind::Body, &[1; 500_000]));
    pair.a.flush();
    let ('d', LinkEvent::Frames { frames, .. }) = pair.next().await else { panic!("closed") };
    assert_eq!(frames[0].body.len(), 500_000);
}

#[tokio::test]
async fn above_the_limit_newcomers_are_told_to_come_later() {
    let strict = Settings { max_handshakes_per_address: 1, retry_above: 0, ..settings() };
    let acceptor = acceptor(strict);
    let from = dialler(DIALLER, settings());
    // Handshakes that nobody takes over stay in the count once the hand-over is full.
    let mut held = Vec::new();
    let error = soon(async {
        loop {
            match dial(&from, &acceptor, LinkClass::Replica).await {
                Ok(dialled) => held.push(dialled),
                Err(error) => return error,
            }
            eventually(|| {
                let c = acceptor.handshakes();
                c.admitted + c.pending as u64 >= held.len() as u64
            })
            .await;
        }
    })
    .await;
    assert_eq!(error, LinkError::Busy { peer: acceptor.local_addr() });
    assert!(acceptor.handshakes().refused >= 1);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = acceptor(settings());
    let again = Endpoint::bind(first.local_addr(), &secret(REPLICA), None, settings());
    let shown = again.err().unwrap().to_string();
    assert!(shown.contains(&first.local_addr().to_string()), "{shown}");
    assert!(first.socket_buffers().receive > 0 && first.socket_buffers().send > 0);
}

#[test]
fn outside_of_a_runtime_is_said_so() {
    let error = Endpoint::bind(loopback(), &secret(REPLICA), None, settings()).err().unwrap();
    assert!(matches!(error, TransportError::NoRuntime));
}

#[test]
fn the_open_frame_is_one() {
    let frame = Frame::parse(Bytes::from_static(&OPEN_FRAME)).unwrap();
    assert_eq!((frame.kind, frame.group, frame.body.len()), (Kind::Open, GroupId::MAIN, 0));
}

#[test]
fn everything_may_move_between_threads() {
    fn sendable<T: Send + 'static>() {}
    sendable::<Endpoint>();
    sendable::<Accepted>();
    sendable::<Dialled>();
    sendable::<Link>();
    sendable::<LinkEvent>();
    fn future<T: Send>(_: T) {}
    #[allow(dead_code)]
    fn futures(e: &Endpoint, a: Accepted, d: Dialled, l: &mut Link, key: PublicKey) {
        future(e.accept());
        future(e.dial(e.local_addr(), &key, LinkClass::Client));
        future(e.close(""));
        future(a.open(&[]));
        future(d.wait());
        future(l.first());
    }
}
