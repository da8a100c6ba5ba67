//! What became of a request, over real links to real cores (rule C2).

use super::*;
use crate::caller::notebook::Entry;
use crate::client::state_file::StateFile;
use crate::types::SessionId;
use std::path::Path;

fn remembering(replicas: &Replicas, path: &Path) -> Client {
    let options = ClientOptions { state_file: Some(path.to_owned()), ..options() };
    Client::connect(&replicas.cluster, secret(WRITER), options).unwrap()
}

fn incr() -> Vec<Command> {
    vec![command(kv::Command::incr("n", 1).encode().into())]
}

async fn fate(client: &Client, id: CallId) -> Fate {
    soon(client.outcome(id)).await.unwrap().fate
}

fn number(fate: &Fate) -> Option<i64> {
    let Fate::Executed { outputs, .. } = fate else { return None };
    match kv::Output::parse(&outputs[0]) {
        Ok(kv::Output::Number(n)) if outputs.len() == 1 => Some(n),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_ran_is_told_and_what_did_not_never_will() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    let call = soon(client.call_with_id(incr())).await.unwrap();
    let id = call.id;
    assert_eq!(client.parse_id(&client.print_id(&id)), Ok(id));
    let answer = soon(call.answer()).await.unwrap();
    assert_eq!(answer.explanation.id, Some(id));
    for _ in 0..2 {
        assert_eq!(number(&fate(&client, id).await), Some(1));
        assert_eq!(number(&soon(client.peek(id)).await.unwrap().fate), Some(1));
    }
    // The client would use that number next.
    let next = CallId { number: id.number + 1, ..id };
    assert_eq!(soon(client.peek(next)).await.unwrap().fate, Fate::NotYet);
    assert_eq!(fate(&client, next).await, Fate::NeverRuns);
    assert_eq!(soon(client.peek(next)).await.unwrap().fate, Fate::NeverRuns);
    let error = soon(client.call(incr())).await.unwrap_err();
    assert!(matches!(error, CallError::Withdrawn { .. }) && !error.may_have_run(), "{error}");
    assert_eq!(error.explanation().and_then(|e| e.id), Some(next));
    let answer = soon(client.call(incr())).await.unwrap();
    assert_eq!(kv::Output::parse(&answer.outputs[0]), Ok(kv::Output::Number(2)));
    // Nobody has ever opened this one.
    let never = CallId { session: SessionId(12345), ..id };
    assert_eq!(soon(client.peek(never)).await.unwrap().fate, Fate::NotYet);
    assert_eq!(fate(&client, never).await, Fate::NeverRuns);
    // What only reads is not ordered.
    let read = vec![Command { kind: CommandKind::Query, bytes: get("n") }];
    let refused = soon(client.call_with_id(read)).await.unwrap_err();
    assert!(matches!(refused, CallError::Unacceptable(_)), "{refused}");
}

#[tokio::test]
async fn calls_that_travelled_together_are_told_apart() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let client = client(&replicas, WRITER);
    let one = || client.submit(incr(), true);
    let calls: Vec<_> = (0..50).map(|_| one()).collect();
    let mut parts = 0;
    for call in calls {
        let answer = soon(call).await.unwrap();
        let id = answer.explanation.id.unwrap();
        let Ok(kv::Output::Number(n)) = kv::Output::parse(&answer.outputs[0]) else {
            panic!("{answer:?}");
        };
        parts += usize::from(id.part.is_some());
        if n % 10 == 0 {
            assert_eq!(number(&fate(&client, id).await), Some(n));
        }
    }
    assert!(parts > 10, "{parts}");
}

#[tokio::test]
async fn a_name_runs_once_however_often_it_is_sent() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let name = RequestName::new("order-17").unwrap();
    let named = |commands| {
        let options = ClientOptions { request_name: Some(name.clone()), ..options() };
        let client = Client::connect(&replicas.cluster, secret(WRITER), options).unwrap();
        async move {
            let answer = soon(client.call(commands)).await;
            client.close().await;
            answer.map(|a| kv::Output::parse(&a.outputs[0]).unwrap())
        }
    };
    for _ in 0..3 {
        assert_eq!(named(incr()).await.unwrap(), kv::Output::Number(1));
    }
    let other = named(vec![command(put("n", "9"))]).await.unwrap_err();
    assert!(matches!(other, CallError::NotTaken { why: NoteKind::NumberTaken, .. }), "{other}");
    let ask = |key: u8, name: &str| {
        let which = Which::Name(RequestName::new(name).unwrap());
        let cluster = replicas.cluster.clone();
        async move {
            soon(Client::ask_outcome(&cluster, &secret(key), &options(), &which))
                .await
                .unwrap()
                .fate
        }
    };
    assert_eq!(number(&ask(WRITER, "order-17").await), Some(1));
    // A key that may only read withdraws its own numbers; it has another session of that name.
    assert_eq!(ask(READER, "order-17").await, Fate::NeverRuns);
    assert_eq!(ask(WRITER, "order-18").await, Fate::NeverRuns);
    let options = ClientOptions { request_name: RequestName::new("order-18").ok(), ..options() };
    let late = Client::connect(&replicas.cluster, secret(WRITER), options).unwrap();
    let error = soon(late.call(incr())).await.unwrap_err();
    assert!(matches!(error, CallError::Withdrawn { .. }), "{error}");
}

#[tokio::test]
async fn a_state_file_tells_what_is_open_after_a_crash() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let first = remembering(&replicas, &path);
    let call = soon(first.call_with_id(incr())).await.unwrap();
    let ran = call.id;
    soon(call.answer()).await.unwrap();
    assert_eq!(first.open_requests().await, []);
    let busy = Client::connect(
        &replicas.cluster,
        secret(WRITER),
        ClientOptions { state_file: Some(path.clone()), ..options() },
    );
    assert!(matches!(busy, Err(ClientError::State { .. })));
    soon(first.close()).await;
    // It goes on where it was.
    let second = remembering(&replicas, &path);
    let call = soon(second.call_with_id(incr())).await.unwrap();
    assert_eq!((call.id.session, call.id.number), (ran.session, ran.number + 1));
    soon(call.answer()).await.unwrap();
    soon(second.close()).await;
    // One died when it had written down a request that never left, and one whose answer it has not
    // seen.
    let lost = CallId { number: ran.number + 2, ..ran };
    let client = ClientId(secret(WRITER).public().0);
    let cluster = replicas.cluster.context(crate::types::GroupId::MAIN).cluster;
    let mut state = StateFile::open(&path, cluster, client).unwrap();
    let entry = |id| Entry::Numbered { id, parts: vec![1] };
    state.append(&[entry(ran), entry(lost)], true).unwrap();
    drop(state);
    let third = remembering(&replicas, &path);
    assert_eq!(third.open_requests().await, [ran, lost]);
    let call = soon(third.call_with_id(incr())).await.unwrap();
    assert_ne!(call.id.session, ran.session, "what is open is left as it is");
    let answer = soon(call.answer()).await.unwrap();
    assert_eq!(kv::Output::parse(&answer.outputs[0]), Ok(kv::Output::Number(3)));
    assert_eq!(fate(&third, lost).await, Fate::NeverRuns);
    // The second client's request said that the answer to the first one had come.
    assert_eq!(fate(&third, ran).await, Fate::Gone);
    assert_eq!(third.open_requests().await, []);
    soon(third.close()).await;
    assert_eq!(remembering(&replicas, &path).open_requests().await, []);
}

#[tokio::test]
async fn a_client_that_cannot_write_down_a_request_does_not_send_it() {
    let replicas = Replicas::start(1, |_| Twist::default());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let client = remembering(&replicas, &path);
    soon(client.execute(put("k", "1"))).await.unwrap();
    // Its file has grown so far that it is written anew, and there is no place for that.
    std::fs::create_dir(directory.path().join("state.new")).unwrap();
    let mut error = None;
    for _ in 0..1000 {
        error = soon(client.call(incr())).await.err();
        if error.is_some() {
            break;
        }
    }
    let error = error.expect("it ends").to_string();
    assert!(error.contains("state file"), "{error}");
    let closed = soon(client.call(incr())).await.unwrap_err();
    assert!(matches!(closed, CallError::Closed { .. }), "{closed}");
}
