//! No client takes the places of all others.

use super::*;

const OTHER: ClientId = ClientId([8; 32]);

impl Line {
    fn update_of(&mut self, client: ClientId, session: u64, bytes: usize) {
        let body = Bytes::from(vec![0; bytes]);
        let request = Request { session: SessionId(session), number: 0, low: 0, body };
        self.take(0, Input::Update { link: LINK, client, request });
    }

    fn query_of(&mut self, client: ClientId, id: u64) {
        let command = KvCommand::get("key").encode();
        let commands = vec![Command { kind: CommandKind::Query, bytes: command.into() }];
        let query = ChainQuery { id, body: RequestBody { commands }.to_bytes() };
        self.take(0, Input::Query { link: LINK, client, query });
    }
}

fn limits() -> ChainLimits {
    ChainLimits { per_client: 2, pending: 4, pending_bytes: 800, ..ChainLimits::default() }
}

const BUSY: Result<u64, (ChainRefusal, u64)> = Err((ChainRefusal::Busy, 1));

#[test]
fn a_client_that_has_its_share_is_refused_and_others_are_not() {
    let mut line = Line::with(2, limits());
    (0..3).for_each(|session| line.update_of(CLIENT, session, 0));
    assert_eq!((line.chains[0].pending(), line.answers()), (2, vec![BUSY]));
    (0..2).for_each(|session| line.update_of(OTHER, session, 0));
    assert_eq!(line.chains[0].pending(), 4);
    line.deliver();
    line.sync_all();
    line.out.clear();
    line.update_of(CLIENT, 2, 0);
    assert_eq!((line.chains[0].pending(), line.answers()), (1, vec![]), "it has places again");
}

#[test]
fn a_share_is_of_bytes_too_and_one_large_request_is_always_taken() {
    let mut line = Line::with(2, limits());
    line.update_of(CLIENT, 0, 90);
    line.update_of(CLIENT, 1, 20);
    assert_eq!((line.chains[0].pending(), line.answers()), (1, vec![BUSY]), "100 is an eighth");
    line.update_of(OTHER, 0, 300);
    assert_eq!(line.chains[0].pending(), 2, "it has nothing else");
    line.out.clear();
    line.update_of(CLIENT, 1, 10);
    assert_eq!((line.chains[0].pending(), line.answers()), (3, vec![]));
}

/// What is dropped, or comes from another head, is counted like what was taken here.
#[test]
fn a_share_is_of_all_that_is_not_executed() {
    let mut line = Line::with(2, limits());
    (0..2).for_each(|session| line.update_of(CLIENT, session, 0));
    line.deliver();
    line.configure(config(2, &[2]));
    line.waiting.clear();
    let request = Request { session: SessionId(7), number: 0, low: 0, body: Bytes::new() };
    let update = |client| Input::Update { link: LINK, client, request: request.clone() };
    line.out.clear();
    line.take(1, update(CLIENT));
    assert_eq!(line.answers().len(), 1, "what it sent to the old head");
    line.take(1, update(OTHER));
    assert_eq!(line.chains[1].pending(), 3);
    line.sync(1);
    line.take(1, update(CLIENT));
    assert_eq!((line.chains[1].executed().number, line.chains[1].pending()), (3, 1));
}

/// CH-Q2.
#[test]
fn a_client_has_a_share_of_the_queries_that_wait() {
    let limits = ChainLimits { queries: 3, ..limits() };
    let mut line = Line::with(2, limits);
    line.update(0, 0);
    line.update(0, 1);
    line.out.clear();
    (0..3).for_each(|id| line.query_of(CLIENT, id));
    assert_eq!(line.answers(), [BUSY]);
    line.query_of(OTHER, 0);
    line.query_of(OTHER, 1);
    assert_eq!(line.answers(), [BUSY], "that is all there is room for");
    line.deliver();
    assert_eq!(line.answers().iter().filter(|a| a.is_ok()).count(), 3);
    line.out.clear();
    line.query_of(CLIENT, 3);
    assert_eq!(line.answers(), [], "it waits");
}
