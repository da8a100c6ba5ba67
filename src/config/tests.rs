//! Tests of the whole parser: what a good file gives, one row for each refusal, and garbage
//! everywhere.

use super::*;
use crate::crypto::SecretKey;
use crate::types::{Assurance, ClockKind, GroupId, MembershipLimits, OrderLimits, Quotas, Role};
use crate::types::{Lag, Timing};
use std::time::Duration;

/// A file in which every key is written, so that every key can be changed.
const FULL: &str = r#"[cluster]
nonce = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
fault_model = "byzantine"
t = 1
delta = "100ms"
[timers]
patience = "600ms"
join_delay = "20ms"
gather = "1ms"
heartbeat = "3s"
ping_every = "250ms"
[order]
clock = "real-time"
[limits]
max_request = 65536
max_output = 65537
max_commands = 100
max_candidates = 101
sole_quota = 302
forget_after = 103
forget_time = "20s"
max_sessions = 104
window = 105
checkpoint_every = 106
max_unexecuted = 107
join_wait = "2s"
join_wait_cap = "3s"
good_service = "4s"
join_lag = 108
[quotas]
per_client = 201
global = 202
body_bytes = 1000000
link_bytes = 2000000
links_per_client = 203
kept_bytes = 1000001
snapshot_bytes = 3000000
transfer_bytes = 300000
transfer_rate = 5000000
log_bytes = 4000000
peer_signatures = 5000
[service]
name = "ledger"
[testing]
allow_liars = true
[[replica]]
id = 2
address = "replica-2.example.org:7102"
admin = "127.0.0.1:7202"
public_key = "KEY2"
[[replica]]
id = 1
address = "127.0.0.1:7101"
admin = "127.0.0.1:7201"
public_key = "keys/replica-1.pub.pem"
[[replica]]
id = 3
address = "[::1]:7103"
admin = "[::1]:7203"
public_key = "KEY3"
[[client]]
name = "alice"
public_key = "KEY4"
role = "read"
[[client]]
name = "bob"
public_key = "KEY5"
[disk]
durability = "none"
snapshots = 5
[chains]
lease = "3s"
margin = "50ms"
reads = "any"
length = 3
[voter]
assurance = "strong"
[network]
mtu = 1472
"#;

fn key(n: u8) -> crate::crypto::PublicKey {
    SecretKey::from_seed([n; 32]).public()
}

fn full() -> String {
    (2..=5).fold(FULL.to_owned(), |text, n| text.replace(&format!("KEY{n}"), &key(n).to_inline()))
}

fn parse(text: &str) -> Result<Cluster, ConfigError> {
    Cluster::parse(text, "q.toml", &mut |path| match path {
        "keys/replica-1.pub.pem" => Ok(key(1).to_pem()),
        "keys/private.pem" => Ok(SecretKey::from_seed([1; 32]).to_pem().to_string()),
        _ => Err("no such file".to_owned()),
    })
}

/// The full file with one line, which must be there once, replaced by others.
fn with(line: &str, instead: &str) -> String {
    let text = full();
    let line = format!("{}\n", line.replace("KEY4", &key(4).to_inline()));
    assert_eq!(text.matches(&line).count(), 1, "{line}");
    text.replacen(&line, &format!("{instead}\n"), 1)
}

/// A process may have quotas of its own, which change nothing that replicas compare.
#[test]
fn a_settings_file_goes_before_the_cluster_file_and_may_say_nothing_else() {
    let cluster = parse(&full()).unwrap();
    let own = "[quotas]\nper_client = 7\n";
    let with = cluster.clone().with_settings(own, "own.toml").unwrap();
    assert_eq!(with.quotas, Quotas { per_client: 7, ..cluster.quotas });
    assert_eq!((with.id(), with.fields()), (cluster.id(), cluster.fields()));
    assert_eq!(cluster.clone().with_settings("", "own.toml").unwrap(), cluster);
    for (text, line, part) in [
        ("[quotas]\nglobal = 303\n", 2, "must be from 1 to 302"),
        ("[quotas]\nper_clinet = 3\n", 2, "per_clinet"),
        ("[limits]\nwindow = 3\n", 1, "limits"),
        ("[quotas\n", 1, "own.toml:1"),
    ] {
        let refused = cluster.clone().with_settings(text, "own.toml").unwrap_err();
        assert_eq!(refused.line, line, "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[test]
fn every_value_arrives() {
    let c = parse(&full()).unwrap();
    assert_eq!(c.nonce[..3], [0x00, 0x11, 0x22]);
    assert_eq!((c.fault_model, c.ensemble.n()), (FaultModel::Byzantine, 3));
    let ms = Duration::from_millis;
    let timing = Timing {
        delta: ms(100),
        patience: ms(600),
        join_delay: ms(20),
        gather: ms(1),
        heartbeat: ms(3000),
        ping_every: ms(250),
        lag: None,
    };
    assert_eq!((c.timing, c.clock), (timing, ClockKind::RealTime));
    assert_eq!((c.assurance, c.mtu), (Assurance::Strong, Some(1472)));
    let usual = full().replace("assurance = \"strong\"\n", "");
    let usual = parse(&usual).unwrap();
    assert_eq!(usual.assurance, Assurance::Majority);
    assert_eq!((usual.id(), usual.fields()), (c.id(), c.fields()), "clients may differ in it");
    let chains = ChainSettings { lease: ms(3000), margin: ms(50), reads: Reads::Any, length: 3 };
    assert_eq!(c.chains, chains);
    let limits = OrderLimits {
        max_request: 65_536,
        max_output: 65_537,
        max_commands: 100,
        max_candidates: 101,
        sole_quota: 302,
        forget_after: 103,
        forget_time: 20_000_000,
        max_sessions: 104,
        window: 105,
        checkpoint_every: 106,
        max_unexecuted: 107,
        membership: MembershipLimits {
            join_wait: 2_000_000,
            join_wait_cap: 3_000_000,
            good_service: 4_000_000,
            join_lag: 108,
        },
    };
    assert_eq!(c.limits, limits);
    let quotas = Quotas {
        per_client: 201,
        global: 202,
        body_bytes: 1_000_000,
        link_bytes: 2_000_000,
        links_per_client: 203,
        kept_bytes: 1_000_001,
        snapshot_bytes: 3_000_000,
        transfer_bytes: 300_000,
        transfer_rate: 5_000_000,
        log_bytes: 4_000_000,
        peer_signatures: 5000,
        whole_bytes: 4096,
    };
    assert_eq!((c.snapshots, Cluster::SNAPSHOTS), (5, 2));
    assert_eq!((c.quotas, c.testing.allow_liars, &*c.service.name), (quotas, true, "ledger"));
    let ids: Vec<u8> = c.replicas.iter().map(|r| r.id.number()).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(c.replicas[1].address, "replica-2.example.org:7102");
    assert_eq!(c.replicas[2].admin.to_string(), "[::1]:7203");
    assert_eq!(
        [1, 2, 3].map(key).as_slice(),
        c.replicas.iter().map(|r| r.public_key).collect::<Vec<_>>()
    );
    let clients: Vec<_> = c.clients.iter().map(|c| (&*c.name, c.public_key, c.role)).collect();
    assert_eq!(clients, [("alice", key(4), Role::Read), ("bob", key(5), Role::Write)]);
}

/// What is left out has the defaults of `types`.
#[test]
fn optional_sections_may_be_left_out() {
    let text = full();
    let (head, rest) = text.split_once("[timers]").unwrap();
    let (_, roster) = rest.split_once("[[replica]]").unwrap();
    let (roster, _) = roster.split_once("[chains]").unwrap();
    let c = parse(&format!("{head}[[replica]]{roster}")).unwrap();
    assert_eq!(c.timing, Timing::from_delta(Duration::from_millis(100)));
    assert_eq!((c.limits, c.quotas), (OrderLimits::default(), Quotas::default()));
    assert_eq!((c.clock, &*c.service.name), (ClockKind::Hybrid, "kv"));
    assert!(!c.testing.allow_liars);
    let ms = Duration::from_millis;
    let chains = ChainSettings { lease: ms(2000), margin: ms(100), reads: Reads::Tail, length: 2 };
    assert_eq!(c.chains, chains);
}

/// One line of the file picks the mode; what only chains have is no difference in the other one.
#[test]
fn one_line_switches_to_a_chain() {
    let voting = parse(&full()).unwrap();
    let chain = parse(&with("fault_model = \"byzantine\"", "fault_model = \"fail-stop\"")).unwrap();
    assert_eq!(Cluster { fault_model: FaultModel::Byzantine, ..chain.clone() }, voting);
    assert_ne!(chain.id(), voting.id());
    assert_eq!((voting.key_map(), chain.each_chain().len()), (chain.key_map(), 1));
    let names = |c: &Cluster| c.fields().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(!names(&voting).contains(&"lease".to_owned()));
    assert!(names(&chain).contains(&"lease".to_owned()));
    let other = Cluster { chains: ChainSettings { length: 2, ..chain.chains }, ..chain.clone() };
    assert_ne!(other.fields(), chain.fields());
    let logical = full().replace("\"real-time\"", "\"logical\"");
    let logical = logical.replace("forget_time = \"20s\"\n", "");
    let logical = logical.replace("\"byzantine\"", "\"fail-stop\"");
    let text = logical.replace("join_wait = \"2s\"\n", "").replace("join_wait_cap = \"3s\"\n", "");
    let refused = parse(&text.replace("good_service = \"4s\"\n", "")).unwrap_err();
    assert!(refused.to_string().contains("a logical clock cannot measure"), "{refused}");
}

#[test]
fn patience_follows_a_join_delay_that_is_overridden() {
    let c = parse(&with("patience = \"600ms\"", "")).unwrap();
    assert_eq!(c.timing.patience, Duration::from_millis(5 * 100 + 20));
}

#[test]
fn under_the_logical_clock_agreed_times_count_ticks() {
    let text = with("clock = \"real-time\"", "clock = \"logical\"");
    let mut ticks = text.clone();
    let given = [
        (21, "forget_time = \"20s\"", "forget_time = 77"),
        (26, "join_wait = \"2s\"", "join_wait = 78"),
        (27, "join_wait_cap = \"3s\"", "join_wait_cap = 79"),
        (28, "good_service = \"4s\"", "good_service = 80"),
    ];
    for (line, duration, number) in given {
        let e = parse(&ticks).unwrap_err();
        assert!(e.line == line && e.problem.contains("ticks"), "{e}");
        ticks = ticks.replace(duration, number);
    }
    let c = parse(&ticks).unwrap();
    let m = c.limits.membership;
    assert_eq!((c.limits.forget_time, m.join_wait, m.join_wait_cap), (77, 78, 79));
    assert_eq!((m.good_service, m.join_lag), (80, 108));
    // A second is no number of ticks: without a word the defaults are others.
    let (head, rest) = text.split_once("[limits]").unwrap();
    let (_, rest) = rest.split_once("[service]").unwrap();
    let m = parse(&format!("{head}[service]{rest}")).unwrap().limits.membership;
    assert_eq!((m.join_wait, m.join_wait_cap, m.good_service), (1_000, 100_000, 1_000_000));
}

/// Who sets only the first wait to more than the usual cap need not know of the cap.
#[test]
fn a_long_first_wait_raises_the_cap_that_is_not_given() {
    let text = with("join_wait_cap = \"3s\"", "");
    let m = parse(&text.replace("\"2s\"", "\"20m\"")).unwrap().limits.membership;
    assert_eq!((m.join_wait, m.join_wait_cap), (1_200_000_000, 1_200_000_000));
}

/// The order of the roster in the file, clients, addresses and quotas are not part of what hosts
/// must agree on; everything else is.
#[test]
fn the_cluster_id_and_the_configuration_digest_cover_what_they_should() {
    let c = parse(&full()).unwrap();
    for (line, instead) in [
        ("address = \"127.0.0.1:7101\"", "address = \"127.0.0.2:7101\""),
        ("per_client = 201", "per_client = 999"),
        ("role = \"read\"", "role = \"admin\""),
        ("ping_every = \"250ms\"", "ping_every = \"251ms\""),
    ] {
        let other = parse(&with(line, instead)).unwrap();
        assert_eq!((c.id(), c.digest()), (other.id(), other.digest()), "{instead}");
    }
    let digest_only = parse(&with("window = 105", "window = 106")).unwrap();
    assert_eq!(c.id(), digest_only.id());
    assert_ne!(c.digest(), digest_only.digest());
    for (line, instead) in [
        ("join_wait = \"2s\"", "join_wait = \"1s\""),
        ("join_wait_cap = \"3s\"", "join_wait_cap = \"4s\""),
        ("good_service = \"4s\"", "good_service = \"5s\""),
        ("join_lag = 108", "join_lag = 109"),
    ] {
        let other = parse(&with(line, instead)).unwrap();
        let genesis = |c: &Cluster| c.genesis(crate::types::GroupId::MAIN);
        assert!(c.id() == other.id() && c.digest() != other.digest(), "{instead}");
        assert_ne!(genesis(&c), genesis(&other), "{instead}");
    }
    // A log goes on with other timers, and with another durability.
    for (line, instead) in [
        ("durability = \"none\"", "durability = \"strict\""),
        ("delta = \"100ms\"", "delta = \"99ms\""),
    ] {
        let other = parse(&with(line, instead)).unwrap();
        let genesis = |c: &Cluster| c.genesis(crate::types::GroupId::MAIN);
        assert!(c.id() == other.id() && c.digest() != other.digest(), "{instead}");
        assert_eq!(genesis(&c), genesis(&other), "{instead}");
    }
    let other = parse(&with("name = \"ledger\"", "name = \"kv\"")).unwrap();
    assert_ne!(c.id(), other.id());
}

/// A budget for being late is there if both of its keys are, and hosts must agree on it.
#[test]
fn a_budget_for_being_late_is_what_two_keys_say() {
    let none = parse(&full()).unwrap();
    assert!(none.fields().iter().all(|(name, _)| !name.starts_with("lag_")));
    let both = |delta: &str, budget: &str| {
        let lines = format!("{PING}\nlag_delta = {delta:?}\nlag_budget = {budget:?}");
        parse(&with(PING, &lines)).unwrap()
    };
    let (c, ms) = (both("5ms", "500ms"), Duration::from_millis);
    assert_eq!(c.timing.lag, Some(Lag { delta: ms(5), budget: ms(500) }));
    assert_eq!(c.timing.lag.unwrap().patience(c.timing.join_delay), ms(5 * 5 + 20));
    for other in [&none, &both("6ms", "500ms"), &both("5ms", "501ms")] {
        let genesis = |c: &Cluster| c.genesis(crate::types::GroupId::MAIN);
        assert!(c.id() == other.id() && c.digest() != other.digest());
        assert_eq!(genesis(&c), genesis(other), "a log goes on with another budget");
    }
    // The largest values that are allowed.
    assert_eq!(both("115ms", "5s").timing.lag.unwrap().freed_in(ms(10)), ms(5));
}

/// The last line of the timers in [`FULL`].
const PING: &str = "ping_every = \"250ms\"";

struct Row(&'static str, &'static str, usize, &'static str);

fn check(rows: &[Row]) {
    for Row(line, instead, at, part) in rows {
        let e = parse(&with(line, instead)).expect_err(instead);
        assert_eq!(e.line, *at, "{instead}: {e}");
        assert!(e.to_string().contains(part), "{instead}: {e}\nlacks {part:?}");
        assert!(e.to_string().starts_with(&format!("q.toml:{at}:")), "{e}");
        assert!(!e.remedy.is_empty(), "{e}");
    }
}

#[test]
fn refusals_of_the_file_as_a_whole() {
    check(&[
        Row("t = 1", "t == 1", 4, "configs/three-loopback.toml"),
        Row("t = 1", "t = 1\nt = 2", 5, "duplicate key"),
        Row("t = 1", "t = 1\ndleta = \"1s\"", 5, "did you mean `delta`?"),
        Row("t = 1", "t = 1\nleader = 3", 5, "unknown key `leader`; here one may write nonce, "),
        Row("[timers]", "[timer]", 6, "unknown key `timer`; did you mean `timers`?"),
        Row("[order]", "[orders]\n[order]", 12, "did you mean `order`?"),
        Row("role = \"read\"", "rule = \"read\"", 64, "unknown key `rule`; did you mean `role`?"),
        Row("id = 2", "id = 2\nhost = \"x\"", 48, "unknown key `host`"),
        Row("[service]", "[limits]\n[service]", 42, "duplicate key"),
    ]);
    let e = parse("").unwrap_err();
    assert!(e.line == 1 && e.to_string().contains("quorate init"), "{e}");
    let e = parse("cluster = 3").unwrap_err();
    assert!(e.to_string().contains("expected a section [cluster]"), "{e}");
    let e = parse("[cluster]\n[replica]\nid = 1\n").unwrap_err();
    assert!(e.line == 2 && e.to_string().contains("with two brackets"), "{e}");
}

#[test]
fn refusals_in_cluster() {
    let nonce = "nonce = \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"";
    let zero = "nonce = \"0000000000000000000000000000000000000000000000000000000000000000\"";
    check(&[
        Row(nonce, "", 1, "[cluster] has no `nonce`"),
        Row(nonce, "nonce = \"12\"", 2, "openssl rand -hex 32"),
        Row(nonce, zero, 2, "openssl rand -hex 32"),
        Row(nonce, "nonce = 12", 2, "a string in quotes, not a whole number"),
        Row("t = 1", "", 1, "add a line t = 1"),
        Row("t = 1", "t = 0", 4, "0 is not allowed, it must be from 1 to 15"),
        Row("t = 1", "t = -1", 4, "-1 is not allowed"),
        Row("t = 1", "t = 16", 4, "from 1 to 15"),
        Row("t = 1", "t = \"1\"", 4, "a whole number without quotes, not a string"),
        Row("t = 1", "t = 1.0", 4, "not a number with a fraction"),
        Row("t = 1", "t = 2", 4, "t = 2 needs n = 2t + 1 = 5 replicas, the file lists 3; add"),
        Row("t = 1", "t = 2", 4, "with id = 4, and id = 5"),
        Row("fault_model = \"byzantine\"", "", 1, "has no `fault_model`"),
        Row("lease = \"3s\"", "lease = \"1s\"", 72, "below 1267ms"),
        Row("lease = \"3s\"", "lease = \"61m\"", 72, "above 60m"),
        Row("length = 3", "length = 4", 75, "must be from 1 to 3"),
        Row("reads = \"any\"", "reads = \"head\"", 74, "write \"tail\" or \"any\""),
        Row(
            "fault_model = \"byzantine\"",
            "fault_model = \"crash\"",
            3,
            "\"crash\" is not known; write \"byzantine\" or \"fail-stop\"",
        ),
    ]);
}

#[test]
fn refusals_of_durations_and_timers() {
    check(&[
        Row("delta = \"100ms\"", "", 1, "has no `delta`"),
        Row("delta = \"100ms\"", "delta = 100", 5, "a duration in quotes, with its unit"),
        Row("delta = \"100ms\"", "delta = \"100\"", 5, "units us, ms, s, m"),
        Row("delta = \"100ms\"", "delta = \"0.1s\"", 5, "units us, ms, s, m"),
        Row("delta = \"100ms\"", "delta = \"-1s\"", 5, "is no duration"),
        Row("delta = \"100ms\"", "delta = \"0ms\"", 5, "outside of 100us to 1m"),
        Row("delta = \"100ms\"", "delta = \"2m\"", 5, "outside of 100us to 1m"),
        Row("delta = \"100ms\"", "delta = \"99999999m\"", 5, "longer than a day"),
        // 4 delta + join_delay + 1 ms is 421 ms.
        Row("patience = \"600ms\"", "patience = \"420ms\"", 7, "at least patience = \"421ms\""),
        Row("delta = \"100ms\"", "delta = \"150ms\"", 7, "at least patience = \"621ms\""),
        Row("join_delay = \"20ms\"", "join_delay = \"101ms\"", 8, "101ms is above delta"),
        Row("gather = \"1ms\"", "gather = \"21ms\"", 9, "longer than join_delay, 20ms"),
        Row("heartbeat = \"3s\"", "heartbeat = \"99ms\"", 10, "99ms is below delta"),
        Row("ping_every = \"250ms\"", "ping_every = \"0us\"", 11, "below 1ms"),
        Row(PING, "lag_delta = \"5ms\"", 6, "[timers] has no `lag_budget`"),
        Row(PING, "lag_budget = \"500ms\"", 6, "[timers] has no `lag_delta`"),
        Row(PING, "lag_delta = 5\nlag_budget = \"1s\"", 11, "a duration in quotes"),
        Row(PING, "lag_delta = \"999us\"\nlag_budget = \"1s\"", 11, "999us is below 1ms"),
        // 5 lag_delta + join_delay must be below 600 ms.
        Row(PING, "lag_delta = \"116ms\"\nlag_budget = \"1s\"", 11, "600ms, not below patience"),
        Row(PING, "lag_delta = \"5ms\"\nlag_budget = \"4ms\"", 12, "outside of 5ms to 5s"),
        Row(PING, "lag_delta = \"5ms\"\nlag_budget = \"5001ms\"", 12, "outside of 5ms to 5s"),
    ]);
    assert!(parse(&with("patience = \"600ms\"", "patience = \"421ms\"")).is_ok());
    // Without an override it is delta that is too short for the timers' grain.
    let text = with("delta = \"100ms\"", "delta = \"500us\"");
    let (head, rest) = text.split_once("[timers]").unwrap();
    let (_, rest) = rest.split_once("[order]").unwrap();
    let e = parse(&format!("{head}[order]{rest}")).unwrap_err();
    assert!(e.line == 5 && e.to_string().contains("a delta of at least 1ms"), "{e}");
}

#[test]
fn refusals_of_order_and_limits() {
    check(&[
        Row("clock = \"real-time\"", "clock = \"sundial\"", 13, "write one of \"real-time\", "),
        Row("max_request = 65536", "max_request = 0", 15, "from 256 to 1048448"),
        Row("max_request = 65536", "max_request = 1048576", 15, "from 256 to 1048448"),
        Row("max_output = 65537", "max_output = 0", 16, "0 is not allowed"),
        Row("max_output = 65537", "max_output = 1048440", 16, "write at most max_output = 1048"),
        Row("max_commands = 100", "max_commands = 0", 17, "from 1 to 65536"),
        Row("max_commands = 100", "max_commands = 65537", 17, "from 1 to 65536"),
        Row("max_candidates = 101", "max_candidates = 16385", 18, "from 1 to 16384"),
        Row("max_candidates = 101", "max_candidates = 0", 18, "from 1 to 16384"),
        Row("sole_quota = 302", "sole_quota = 0", 19, "`sole_quota`: 0 is not allowed"),
        Row("forget_after = 103", "forget_after = 0", 20, "`forget_after`: 0 is not allowed"),
        Row("forget_time = \"20s\"", "forget_time = \"0s\"", 21, "longer than nothing"),
        Row("forget_time = \"20s\"", "forget_time = 20", 21, "a duration in quotes"),
        Row("max_sessions = 104", "max_sessions = 0", 22, "`max_sessions`: 0 is not allowed"),
        Row("window = 105", "window = 0", 23, "from 1 to 65536"),
        Row("window = 105", "window = 65537", 23, "from 1 to 65536"),
        Row("checkpoint_every = 106", "checkpoint_every = 0", 24, "0 is not allowed"),
        Row("max_unexecuted = 107", "max_unexecuted = 0", 25, "0 is not allowed"),
        Row("join_wait = \"2s\"", "join_wait = \"0s\"", 26, "longer than nothing"),
        Row("join_wait = \"2s\"", "join_wait = \"4s\"", 27, "this is shorter than join_wait"),
        Row("join_wait_cap = \"3s\"", "join_wait_cap = 3", 27, "a duration in quotes"),
        Row("good_service = \"4s\"", "good_service = \"0us\"", 28, "longer than nothing"),
        Row("join_lag = 108", "join_lag = 0", 29, "`join_lag`: 0 is not allowed"),
        Row("per_client = 201", "per_client = 0", 31, "0 is not allowed"),
        Row("global = 202", "global = 0", 32, "0 is not allowed"),
        Row("global = 202", "global = 303", 32, "must be from 1 to 302"),
        Row("body_bytes = 1000000", "body_bytes = 65535", 33, "from 65536 to"),
        Row("link_bytes = 2000000", "link_bytes = 1000", 34, "from 1048576 to"),
        Row("links_per_client = 203", "links_per_client = 0", 35, "0 is not allowed"),
        Row("kept_bytes = 1000001", "kept_bytes = 1", 36, "from 65536 to"),
        Row("snapshot_bytes = 3000000", "snapshot_bytes = 1", 37, "from 1048576 to"),
        Row("transfer_bytes = 300000", "transfer_bytes = 262143", 38, "from 262144 to 268435456"),
        Row("transfer_rate = 5000000", "transfer_rate = 1000000", 39, "from 1048576 to"),
        Row("log_bytes = 4000000", "log_bytes = 1000", 40, "from 1048576 to"),
        Row("peer_signatures = 5000", "peer_signatures = 1000", 41, "from 1024 to"),
        Row("name = \"ledger\"", "name = \"My Bank\"", 43, "a-z, 0-9"),
        Row("name = \"ledger\"", "name = \"\"", 43, "a-z, 0-9"),
        Row("allow_liars = true", "allow_liars = \"no\"", 45, "true or false without quotes"),
        Row("snapshots = 5", "snapshots = 0", 70, "must be from 1 to 64"),
        Row("mtu = 1472", "mtu = 1199", 79, "must be from 1200 to 8972"),
        Row("mtu = 1472", "mtu = 8973", 79, "must be from 1200 to 8972"),
        Row("mtu = 1472", "size = 1472", 79, "mtu"),
    ]);
    // More commands leave less room for outputs; the larger limit of the two is at fault.
    let text = with("max_output = 65537", "").replace("max_commands = 100", "max_commands = 65536");
    assert!(parse(&text).is_ok());
    let text = with("max_output = 65537", "max_output = 800000");
    let e = parse(&text.replace("max_commands = 100", "max_commands = 65536")).unwrap_err();
    assert!(e.line == 16 && e.to_string().contains("or fewer max_commands"), "{e}");
}

#[test]
fn refusals_of_ids_and_addresses() {
    let address = "address = \"127.0.0.1:7101\"";
    let admin = "admin = \"127.0.0.1:7201\"";
    check(&[
        Row("id = 2", "", 46, "[[replica]] has no `id`"),
        Row("id = 2", "id = 0", 47, "0 is not one of the ids 1 to 3"),
        Row("id = 2", "id = 4", 47, "n must be 2t + 1"),
        Row("id = 2", "id = 300", 47, "300 is not one of the ids"),
        Row("id = 3", "id = 2", 57, "id 2 is taken by the replica of line 47"),
        Row(address, "", 51, "has no `address`"),
        Row(address, "address = \"localhost\"", 53, "has no port"),
        Row(address, "address = \"localhost:\"", 53, "\"\" is no port"),
        Row(address, "address = \"localhost:99999\"", 53, "\"99999\" is no port"),
        Row(address, "address = \"localhost:+99\"", 53, "\"+99\" is no port"),
        Row(address, "address = \"localhost:0\"", 53, "port 0 cannot be dialled"),
        Row(address, "address = \"127.0.0.1:0\"", 53, "port 0 cannot be dialled"),
        Row(address, "address = \"0.0.0.0:7101\"", 53, "the one for all interfaces"),
        Row(address, "address = \"::1:7101\"", 53, "write it in brackets: \"[::1]:7101\""),
        Row(address, "address = \"127.0.0.256:7101\"", 53, "neither a host name nor an IP"),
        Row(address, "address = \"a b:7101\"", 53, "neither a host name nor an IP"),
        Row(address, "address = \":7101\"", 53, "neither a host name nor an IP"),
        Row(address, "address = \"[::1]:7103\"", 58, "replica 1 has this address too (line 53)"),
        Row(address, "address = \"[0:0::1]:7103\"", 58, "replica 1 has this address too"),
        Row(address, "address = \"Replica-2.example.ORG:7102\"", 53, "replica 2 has this address"),
        Row(admin, "", 51, "has no `admin`"),
        Row(admin, "admin = \"localhost:7201\"", 54, "no host names here"),
        Row(admin, "admin = \"127.0.0.1:0\"", 54, "port 0"),
        Row(admin, "admin = \"0.0.0.0:7201\"", 54, "the one for all interfaces"),
    ]);
}

#[test]
fn admin_addresses_clash_where_they_are_the_same_socket() {
    // Two hosts may each have their loopback port 7202; one host may not have it twice.
    let shared = with("admin = \"127.0.0.1:7201\"", "admin = \"127.0.0.1:7202\"");
    assert!(parse(&shared).is_ok());
    let one_host = shared.replace("127.0.0.1:7101", "replica-2.example.org:7101");
    let e = parse(&one_host).unwrap_err();
    assert!(e.line == 54 && e.to_string().contains("replica 2 has this address too"), "{e}");
    let public = full().replace("127.0.0.1:7201", "192.0.2.1:80");
    let e = parse(&public.replace("127.0.0.1:7202", "192.0.2.1:80")).unwrap_err();
    assert_eq!(e.line, 54, "{e}");
}

#[test]
fn refusals_of_keys_and_clients() {
    let path = "public_key = \"keys/replica-1.pub.pem\"";
    let weak = "public_key = \
                \"0100000000000000000000000000000000000000000000000000000000000000\"";
    check(&[
        Row(path, "", 51, "has no `public_key`"),
        Row(path, "public_key = \"\"", 55, "this is empty"),
        Row(path, "public_key = \"keys/r9.pem\"", 55, "\"keys/r9.pem\": no such file; write"),
        Row(path, "public_key = \"keys/private.pem\"", 55, "a private key where a public key"),
        Row(path, weak, 55, "weak"),
        Row(path, "public_key = \"\"\"-----BEGIN RSA PUBLIC KEY-----\"\"\"", 55, "a key for RSA"),
        Row("name = \"alice\"", "", 61, "[[client]] has no `name`"),
        Row("name = \"alice\"", "name = \"\"", 62, "printable characters"),
        Row("name = \"alice\"", "name = \"a\\u0007\"", 62, "printable characters"),
        Row("name = \"bob\"", "name = \"alice\"", 66, "is taken by the client of line 62"),
        Row("role = \"read\"", "role = \"root\"", 64, "\"read\", \"write\", \"admin\""),
    ]);
    let two = key(2).to_inline();
    for (n, line, part) in [
        (3, 60, "this is also the key of replica 2 (line 50)"),
        (4, 63, "this is also the key of replica 2 (line 50)"),
    ] {
        let e = parse(&full().replace(&key(n).to_inline(), &two)).unwrap_err();
        assert!(e.line == line && e.to_string().contains(part), "{e}");
    }
    let e = parse(&full().replace(&key(5).to_inline(), &key(4).to_inline())).unwrap_err();
    assert!(e.line == 67 && e.to_string().contains("client \"alice\" (line 63)"), "{e}");
}

/// Every key of the file in turn gets values that are none: an error or a cluster, never a panic;
/// and values of a type that no key takes are always refused at that very line.
#[test]
fn garbage_at_every_key_is_refused() {
    let text = full();
    let lines: Vec<&str> = text.lines().collect();
    let never = ["[1, 2]", "{ a = 1 }", "1979-05-27", "3.5", "nan", "-9223372036854775808", "-1"];
    let maybe = ["\"\"", "\"\\u0000\"", "\"ß\"", "0", "9223372036854775807", "true", "\"0us\""];
    let broken = ["", "\"", "99999999999999999999", "[", "'''", "\"\\q\"", "0x", "\u{feff}"];
    for (i, line) in lines.iter().enumerate() {
        let Some((name, _)) = line.split_once(" = ") else { continue };
        let put = |value: &str| {
            let mut changed: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
            changed[i] = format!("{name} = {value}");
            parse(&changed.join("\n"))
        };
        for value in never {
            let e = put(value).expect_err(value);
            assert_eq!(e.line, i + 1, "{name} = {value}: {e}");
            assert!(e.to_string().contains(&format!("`{name}`")), "{e}");
        }
        for value in broken {
            assert!(put(value).is_err(), "{name} = {value}");
        }
        for value in maybe {
            if let Err(e) = put(value) {
                assert!(!e.problem.is_empty() && !e.remedy.is_empty());
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    let text = full();
    for cut in 0..text.len() {
        let _ = parse(&text[..cut]);
    }
}

/// The largest limits that the parser allows fit a frame: making one panics if they do not.
#[test]
fn the_largest_limits_fit_a_frame() {
    use crate::types::{ClientId, GroupId, SessionId};
    use crate::wire::{Body, Message, Outcome, Replies, Reply, Request};
    let text = with("max_request = 65536", "max_request = 1048448");
    let text = text.replace("body_bytes = 1000000", "body_bytes = 1048448");
    let text = text.replace("kept_bytes = 1000001", "kept_bytes = 1048448");
    let largest = |max_output: u32| {
        parse(&text.replace("max_output = 65537", &format!("max_output = {max_output}")))
    };
    let max_output = (1_000_000..1_048_448).rev().find(|n| largest(*n).is_ok()).unwrap();
    let limits = largest(max_output).unwrap().limits;

    let body = vec![0; limits.max_request as usize].into();
    let request = Request { session: SessionId(1), number: 1, low: 1, body };
    let frame = request.to_frame(GroupId::MAIN).split_off(9);
    Body { client: ClientId([0; 32]), request: frame.into() }.to_frame(GroupId::MAIN);

    let mut outputs = vec![bytes::Bytes::new(); limits.max_commands as usize];
    outputs[0] = vec![0; limits.max_output as usize].into();
    let outcome = Outcome::Executed(outputs).to_bytes();
    assert_eq!(outcome.len() + Reply::OVERHEAD, Replies::MAX_BYTES);
    let reply = Reply { session: SessionId(1), number: 1, index: 0, outcome };
    Replies { position: Default::default(), rolled: false, replies: vec![reply] }
        .to_frame(GroupId::MAIN);
}

/// M3: the cluster stays itself, and its keyring knows which key counted when.
#[test]
fn former_keys_change_neither_the_id_nor_the_digest() {
    let c = parse(&full()).unwrap();
    let path = "public_key = \"keys/replica-1.pub.pem\"";
    let entry =
        |list: &str| format!("public_key = \"{}\"\nformer_keys = {list}", key(8).to_inline());
    let one = |key: &str, until: u32| format!("{{ key = \"{key}\", until = {until} }}");
    let list = format!("[{}, {}]", one("keys/replica-1.pub.pem", 4), one(&key(7).to_inline(), 6));
    let with = |list: &str| parse(&with(path, &entry(list)));
    let renewed = with(&list).unwrap();
    assert_eq!((c.id(), c.fields()), (renewed.id(), renewed.fields()));
    let keyring = renewed.keyring::<crate::crypto::Ed25519>(GroupId::MAIN).unwrap();
    let r1 = &renewed.replicas[0];
    assert_eq!((r1.public_key, *r1.first_key()), (key(8), key(1)));
    let keys = [4, 5, 6, 7, 8].map(|generation| keyring.key_at(r1.id, generation).copied());
    assert_eq!(keys, [Some(key(1)), None, Some(key(7)), None, Some(key(8))]);
    let six = key(6).to_inline();
    for (list, part) in [
        ("3".to_owned(), "this must be a list"),
        ("[3]".to_owned(), "has a key and an until"),
        (format!("[{{ key = \"{six}\" }}]"), "has a key and an until"),
        (format!("[{}]", one(&six, u32::MAX)), "has a key and an until"),
        (format!("[{}, {}]", one(&six, 4), one(&key(7).to_inline(), 5)), "too early"),
        (format!("[{}]", one(&key(2).to_inline(), 4)), "this is also the key of replica 2"),
        (format!("[{}]", one("keys/none.pem", 4)), "no such file"),
    ] {
        let e = with(&list).unwrap_err();
        assert!(e.to_string().contains(part) && e.line == 56, "{e}");
    }
}
