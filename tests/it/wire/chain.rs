//! One message of every kind of a chain, its master and its clients.

use super::samples::{GROUP, Sample};
use bytes::Bytes;
use quorate::master::{Answer, Command, Member};
use quorate::types::{AgreedTime, ClientId, ReplicaId, SessionId};
use quorate::wire::{
    ChainAnswer, ChainAsked, ChainConfig, ChainEntry, ChainGrant, ChainMember, ChainMessage,
    ChainPosition, ChainQuery, ChainRefusal, ChainRenewal, ChainSession, DecodeError, Message,
    Outcome, Request,
};

fn replica(number: u8) -> ReplicaId {
    ReplicaId::new(number).expect("a small number")
}

fn config() -> ChainConfig {
    let member = |number| ChainMember { replica: replica(number), incarnation: 5 };
    ChainConfig { number: 7, members: vec![member(2), member(1)], joining: Some(member(3)) }
}

/// Bytes of that configuration, of a member, and where the count of members stands.
const CONFIG: usize = 8 + 4 + 9 + 9 + 1 + 9;
const MEMBERS: usize = 8;

fn at(config: u64, number: u64) -> ChainPosition {
    ChainPosition { config, number }
}

fn entry(number: u64) -> ChainEntry {
    let session = SessionId(0x1122_3344_5566_7788);
    let request = Request { session, number: 9, low: 5, body: Bytes::from_static(b"commands") };
    let client = ClientId([0xc1; 32]);
    let time = AgreedTime(1_700_000_000_000_000);
    ChainEntry { position: at(6, number), time, client, request }
}

/// All samples.
pub fn samples() -> Vec<Sample> {
    let mut all = between_replicas();
    all.extend(with_clients());
    all.extend(with_the_master());
    all
}

fn between_replicas() -> Vec<Sample> {
    let runs = vec![at(4, 38), at(6, 40)];
    let entries = vec![entry(39), entry(40)];
    let part = ChainMessage::Snapshot {
        config: 7,
        number: 30,
        size: 500,
        offset: 256,
        bytes: Bytes::from_static(b"a state"),
    };
    let frame = |name, message: ChainMessage, counts: &[usize]| {
        Sample::frame(name, message.to_frame(GROUP), counts)
    };
    let length = ChainEntry::OVERHEAD + 8;
    let body = 1 + 24 + 4 + ChainEntry::OVERHEAD - 4;
    vec![
        frame("chain-config", ChainMessage::Config(config()), &[1 + MEMBERS]),
        frame(
            "chain-resume",
            ChainMessage::Resume { config: config(), executed: 37, runs },
            &[1 + MEMBERS, 1 + CONFIG + 8],
        ),
        frame(
            "chain-forward",
            ChainMessage::Forward { config: 7, after: 38, durable: 36, entries },
            &[1 + 24, body, body + length],
        ),
        frame("chain-ack", ChainMessage::Ack { config: 7, committed: 38 }, &[]),
        frame("chain-snapshot", part, &[1 + 32]),
        frame("chain-more", ChainMessage::More { config: 7, number: 30, offset: 263 }, &[]),
        frame("chain-ask-committed", ChainMessage::AskCommitted { config: 7, id: 3 }, &[]),
        frame("chain-committed", ChainMessage::Committed { config: 7, id: 3, number: 38 }, &[]),
    ]
}

fn with_clients() -> Vec<Sample> {
    let session = ChainSession { session: SessionId(8) };
    let query = ChainQuery { id: 11, body: Bytes::from_static(b"queries") };
    let outcome = Outcome::Executed(vec![Bytes::from_static(b"value")]).to_bytes();
    let answer = ChainAnswer::Answer { id: 11, number: 38, outcome };
    let refused = |asked, why| ChainAnswer::Refused { asked, why, config: config() };
    let update = ChainAsked::Update { session: SessionId(8), number: 9 };
    let query_id = ChainAsked::Query { id: 11 };
    let frame = |name, answer: ChainAnswer, counts: &[usize]| {
        Sample::frame(name, answer.to_frame(GROUP), counts)
    };
    vec![
        Sample::frame("chain-query", query.to_frame(GROUP), &[8]),
        Sample::frame("chain-session", session.to_frame(GROUP), &[]),
        frame("chain-answer", answer, &[17]),
        frame("chain-answer-config", ChainAnswer::Config(config()), &[1 + MEMBERS]),
        frame("chain-refused-update", refused(update, ChainRefusal::NotHead), &[18 + MEMBERS]),
        frame("chain-refused-query", refused(query_id, ChainRefusal::Busy), &[10 + MEMBERS]),
    ]
}

fn with_the_master() -> Vec<Sample> {
    let (two, last) = (replica(2), at(6, 40));
    let renewal =
        ChainRenewal { chain: 4, replica: two, incarnation: 5, last, paired: 7, lost: true };
    let grant = ChainGrant { granted: true, again: 75_000, config: config() };
    let (members, spares) = (vec![replica(1), replica(2)], vec![replica(3)]);
    let create = Command::Create { chain: 4, wanted: 2, members, spares };
    let order = vec![replica(2), replica(1)];
    let member = Member {
        replica: replica(1),
        incarnation: 5,
        expires: 1_700_000_000_000_000,
        last: at(6, 40),
        barred: false,
        lost: true,
    };
    let shown = Answer::Chain { config: config(), wanted: 2, down: false, replicas: vec![member] };
    let command = |name, command: Command, counts: &[usize]| {
        Sample::part(name, command.encode(), counts, reencode_command)
    };
    let record = entry(40).to_record().to_vec();
    let body = 8 + ChainEntry::OVERHEAD - 4;
    vec![
        Sample::part("chain-record", record, &[body], |b| {
            ChainEntry::parse_record(b).map(|entry| entry.to_record().to_vec())
        }),
        command("master-renew", Command::Renew(renewal), &[]),
        command("master-create", create, &[6, 6 + 4 + 2]),
        command("master-show", Command::Show { chain: 4 }, &[]),
        command("master-reorder", Command::Reorder { chain: 4, number: 7, order }, &[13]),
        command("master-remove", Command::Remove { chain: 4, replica: replica(3) }, &[]),
        command("master-add", Command::Add { chain: 4, replica: replica(3) }, &[]),
        Sample::part("master-grant", grant.to_bytes(), &[9 + MEMBERS], |b| {
            ChainGrant::parse(b).map(|grant| grant.to_bytes())
        }),
        Sample::part(
            "master-chain",
            shown.encode(),
            &[1 + MEMBERS, 1 + CONFIG + 2],
            reencode_answer,
        ),
        Sample::part(
            "master-refused",
            Answer::Refused("there is no chain of this number".to_owned()).encode(),
            &[1],
            reencode_answer,
        ),
    ]
}

fn reencode_command(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Command::parse(bytes).map(|command| command.encode())
}

fn reencode_answer(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Answer::parse(bytes).map(|answer| answer.encode())
}

/// CH-F5: a configuration names nobody twice, and who joins is no member.
#[test]
fn a_configuration_names_each_replica_once() {
    let mut twice = config();
    twice.members[1].replica = replica(2);
    let mut both = config();
    both.joining = Some(ChainMember { replica: replica(1), incarnation: 6 });
    for config in [twice, both] {
        let frame = ChainMessage::Config(config).to_frame(GROUP);
        let error = ChainMessage::from_body(&frame[9..]).expect_err("it is refused");
        assert_eq!(error.what, "a replica twice in a chain");
    }
}

#[test]
fn runs_rise_and_there_is_at_least_one() {
    for runs in [vec![], vec![at(2, 5), at(2, 6)], vec![at(2, 5), at(3, 5)]] {
        let frame = ChainMessage::Resume { config: config(), executed: 1, runs }.to_frame(GROUP);
        assert!(ChainMessage::from_body(&frame[9..]).is_err());
    }
}
