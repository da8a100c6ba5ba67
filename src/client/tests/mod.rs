//! The client against real replica cores over loopback. Deadlines are generous and only there to
//! turn a hang into a failure.

mod outcome;
mod replicas;

use super::*;
use crate::service::kv;
use crate::types::{ClientId, ReplicaId};
use crate::wire::NoteKind;
use bytes::Bytes;
use replicas::{READER, Replicas, STRANGER, Twist, WRITER, secret, settings};
use std::future::Future;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("happens before the deadline")
}

fn options() -> ClientOptions {
    ClientOptions { timeout: DEADLINE, transport: settings(), ..ClientOptions::default() }
}

fn client(replicas: &Replicas, key: u8) -> Client {
    Client::connect(&replicas.cluster, secret(key), options()).unwrap()
}

fn put(key: &str, value: &str) -> Bytes {
    kv::Command::put(key, value).encode().into()
}

fn get(key: &str) -> Bytes {
    kv::Command::get(key).encode().into()
}

fn command(bytes: Bytes) -> Command {
    Command { kind: CommandKind::Execute, bytes }
}

fn output(bytes: Result<Bytes, CallError>) -> kv::Output {
    kv::Output::parse(&bytes.unwrap()).unwrap()
}

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

#[test]
fn a_client_may_be_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send>(_: T) {}
    shared::<Client>();
    let _ = |client: &Client| sent(client.execute(Bytes::new()));
    let _ = |client: &Client| sent(client.submit(Vec::new(), true));
}

#[tokio::test]
async fn what_is_put_can_be_read() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    soon(client.ready(DEADLINE)).await.unwrap();
    assert_eq!(output(soon(client.query(get("name"))).await), kv::Output::Missing);
    assert_eq!(output(soon(client.execute(put("name", "Ada"))).await), kv::Output::Done);
    let ada = kv::Output::Value("Ada".into());
    assert_eq!(output(soon(client.query(get("name"))).await), ada);
    let both = vec![command(put("name", "Bob")), command(get("name"))];
    let answer = soon(client.call(both)).await.unwrap();
    let bob = kv::Output::Value("Bob".into());
    assert_eq!(kv::Output::parse(&answer.outputs[1]), Ok(bob));
    assert!(answer.explanation.agreeing().len() >= 2);
    let stats = client.stats().await;
    assert_eq!((stats.accepted, stats.sessions, stats.outstanding), (5, 1, 0));
    soon(client.close()).await;
    assert_eq!(client.stats().await.accepted, 5, "the last counters stay");
}

#[tokio::test]
async fn calls_that_wait_together_travel_together_and_get_their_own_outputs() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    let one = kv::Command::incr("n", 1).encode();
    let calls: Vec<_> =
        (0..500).map(|_| client.submit(vec![command(one.clone().into())], true)).collect();
    let mut numbers = Vec::new();
    for call in calls {
        let answer = soon(call).await.unwrap();
        match kv::Output::parse(&answer.outputs[0]).unwrap() {
            kv::Output::Number(n) => numbers.push(n),
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    assert!(client.stats().await.accepted < 100, "{:?}", client.stats().await);
}

#[tokio::test]
async fn queries_whose_outputs_are_too_large_together_are_answered_apart() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    let large = "x".repeat(180 * 1024);
    soon(client.execute(put("large", &large))).await.unwrap();
    let ask = || {
        let client = client.clone();
        tokio::spawn(async move { client.query(get("large")).await })
    };
    for query in [ask(), ask(), ask(), ask()] {
        let value = output(soon(query).await.unwrap());
        assert_eq!(value, kv::Output::Value(large.clone().into()));
    }
    let stats = client.stats().await;
    assert!(stats.refused == 1 && stats.accepted == 7, "{stats:?}");
}

#[tokio::test]
async fn more_calls_than_there_is_room_for_wait() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let options = ClientOptions { max_calls: 3, ..options() };
    let client = Client::connect(&replicas.cluster, secret(WRITER), options).unwrap();
    let calls: Vec<_> = (0..40)
        .map(|i| tokio::spawn(client.submit(vec![command(put("k", &i.to_string()))], true)))
        .collect();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    let stats = client.stats().await;
    assert!(stats.accepted > 10, "at most three fit into a request: {stats:?}");
}

#[tokio::test]
async fn one_replica_that_lies_is_named_and_changes_nothing() {
    let liar = |i| Twist { lies: i == 1, ..Twist::default() };
    let replicas = Replicas::start(1, liar);
    let client = client(&replicas, WRITER);
    let dissent = async {
        for i in 0.. {
            let value = i.to_string();
            assert_eq!(output(client.execute(put("k", &value)).await), kv::Output::Done);
            if client.stats().await.replicas[1].dissent > 0 {
                return;
            }
        }
    };
    soon(dissent).await;
    let stats = client.stats().await;
    assert_eq!((stats.replicas[0].dissent, stats.replicas[2].dissent), (0, 0));
}

#[tokio::test]
async fn without_a_majority_the_error_says_who_is_silent_and_why() {
    let mut replicas = Replicas::start(1, |_| Twist::default());
    let options = ClientOptions { timeout: Duration::from_millis(500), ..options() };
    let client = Client::connect(&replicas.cluster, secret(WRITER), options).unwrap();
    soon(client.ready(DEADLINE)).await.unwrap();
    soon(replicas.stop(0)).await;
    soon(replicas.stop(1)).await;
    let error = soon(client.execute(put("a", "b"))).await.unwrap_err();
    let explanation = error.explanation().unwrap();
    assert!(matches!(error, CallError::NoMajority { .. }), "{error}");
    let text = explanation.to_string();
    assert!(explanation.silent().contains(r(1)) && text.contains("R1 silent, no link for"));
    assert!(text.contains("closed the link: stopped") || text.contains("no answer"), "{text}");
    assert!(!text.contains("no answer yet"), "{text}");
    let links = client.links();
    assert!(!links[0].up && !links[1].up && links[0].error.is_some(), "{links:?}");
}

#[tokio::test]
async fn a_key_that_is_not_admitted_is_told_so_at_once() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let options = ClientOptions { timeout: Duration::from_millis(300), ..options() };
    let client = Client::connect(&replicas.cluster, secret(STRANGER), options).unwrap();
    let error = soon(client.ready(DEADLINE * 10)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotReady { hopeless: true, .. }));
    assert!(error.to_string().contains("does not admit our key as a client"), "{error}");
    let error = soon(client.execute(put("a", "b"))).await.unwrap_err();
    let text = error.explanation().unwrap().to_string();
    assert!(text.contains("does not admit our key as a client"), "{text}");
    assert!(!error.may_have_run(), "it was never sent");
}

#[tokio::test]
async fn a_key_that_may_only_read_is_told_so() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, READER);
    assert_eq!(output(soon(client.query(get("a"))).await), kv::Output::Missing);
    let error = soon(client.execute(put("a", "b"))).await.unwrap_err();
    assert!(matches!(error, CallError::NotTaken { why: NoteKind::Forbidden, .. }), "{error}");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_makes_no_link() {
    let twist = |i| Twist { other_cluster: i == 0, other_number: i == 2, ..Twist::default() };
    let replicas = Replicas::start(1, twist);
    let client = client(&replicas, WRITER);
    let error = soon(client.ready(DEADLINE)).await.unwrap_err().to_string();
    assert!(error.contains("it belongs to cluster"), "{error}");
    assert!(error.contains("it says that it is R7, this cluster file calls its key R3"), "{error}");
    assert!(error.contains("links to 1 of 3 replicas") || error.contains("to 0 of"), "{error}");
}

#[tokio::test]
async fn closing_ends_all_calls_and_dropping_closes() {
    let mut replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    soon(client.ready(DEADLINE)).await.unwrap();
    soon(client.execute(put("a", "b"))).await.unwrap();
    soon(replicas.stop(0)).await;
    let waiting = client.submit(vec![command(put("a", "b"))], true);
    soon(client.close()).await;
    let error = soon(waiting).await.unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
    let error = soon(client.execute(put("a", "b"))).await.unwrap_err();
    assert_eq!(error.to_string(), "the client was closed; the request was never sent");
    assert!(matches!(client.ready(DEADLINE).await, Err(ClientError::Closed) | Ok(())));
}

#[tokio::test]
async fn a_dropped_call_is_taken_back() {
    let mut replicas = Replicas::start(1, |_| Twist::default());
    for i in 0..3 {
        soon(replicas.stop(i)).await;
    }
    let client = client(&replicas, WRITER);
    let call = client.submit(vec![command(put("a", "b"))], true);
    let queued = async |n| {
        while client.stats().await.queued != n {
            tokio::task::yield_now().await;
        }
    };
    soon(queued(1)).await;
    drop(call);
    soon(queued(0)).await;
}
