//! `quorate check`.

use super::{Failure, Subcommand, USAGE, output};
use crate::config::{
    ChainEntry, ClientEntry, Cluster, FaultModel, Reads, ReplicaEntry, least_patience,
    show_duration,
};
use crate::crypto::Ed25519;
use crate::files::load_cluster;
use crate::proof::receipt::roster_hash;
use crate::types::{ClockKind, Durability, GroupId, Role, Timing};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Check a cluster file and print everything that follows from it
#[derive(Args)]
pub(super) struct Check {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// Say only which chain of a cluster in the fail-stop model has this key
    #[arg(long)]
    key: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Subcommand for Check {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        match (&self.key, self.json) {
            (Some(key), _) if cluster.fault_model == FaultModel::Byzantine => {
                let file = self.config.display();
                let model = "has fault_model = \"byzantine\": there is no chain";
                let message = format!("{file} {model}, every replica has the key {key:?}");
                return Err(Failure { code: USAGE, message }.into());
            }
            (Some(key), true) => output::print_json(&place_json(&cluster, key))?,
            (Some(key), false) => output::print(&place_text(&cluster, key))?,
            (None, true) => output::print_json(&as_json(&cluster))?,
            (None, false) => output::print(&as_text(&cluster))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A timer, how it follows from Δ, and whether the file says something else.
struct Timer {
    name: &'static str,
    value: Duration,
    formula: &'static str,
    derived: Duration,
}

fn timers(t: &Timing) -> Vec<Timer> {
    let d = Timing::from_delta(t.delta);
    let timer = |name, value, formula, derived| Timer { name, value, formula, derived };
    let mut timers = vec![
        timer("patience", t.patience, "5 delta + join_delay", 5 * t.delta + t.join_delay),
        timer("join_delay", t.join_delay, "delta / 10", d.join_delay),
        timer(
            "gather",
            t.gather,
            "the least of delta / 50, 500us, join_delay",
            d.gather.min(t.join_delay),
        ),
        timer("heartbeat", t.heartbeat, "the greater of 10 delta, 1s", d.heartbeat),
        timer("ping_every", t.ping_every, "the greater of 5 delta, 500ms", d.ping_every),
        timer(
            "least patience",
            least_patience(t.delta, t.join_delay),
            "4 delta + join_delay + 1ms of timer grain",
            least_patience(t.delta, t.join_delay),
        ),
    ];
    if let Some(lag) = t.lag {
        let usual = lag.patience(t.join_delay);
        timers.extend([
            timer("lag_delta", lag.delta, "what a message takes usually", lag.delta),
            timer("usual patience", usual, "5 lag_delta + join_delay", usual),
            timer("lag_budget", lag.budget, "what a member may take more within 10s", lag.budget),
        ]);
    }
    timers
}

/// What is allowed but has a price.
fn warnings(c: &Cluster) -> Vec<String> {
    let t = &c.timing;
    let default = 5 * t.delta + t.join_delay;
    let mut warnings = Vec::new();
    if t.patience < default {
        warnings.push(format!(
            "patience is below its default {}: recovery is faster, but good replicas may be \
             excluded wrongly, which weakens the promise against liars",
            show_duration(default)
        ));
    }
    if t.lag.is_some() {
        warnings.push(
            "lag_delta: who takes longer than that for lag_budget is excluded, though it may keep \
             to delta, and counts as one of t until it has joined again"
                .to_owned(),
        );
    }
    if c.fault_model == FaultModel::FailStop {
        warnings.push(
            "fail-stop: ONE member that lies, or whose memory or disk gives wrong bytes, can make \
             clients believe anything; fault_model = \"byzantine\" survives t of them"
                .to_owned(),
        );
        for chain in c.each_chain() {
            if usize::from(chain.length) < c.ensemble.majority() {
                warnings.push(format!(
                    "a chain of {} members loses what was acknowledged when {} disks are lost",
                    chain.length, chain.length
                ));
            }
        }
    }
    if c.clients.is_empty() {
        warnings.push("there is no [[client]]: nobody can use this cluster".to_owned());
    }
    warnings
}

/// The limits that are durations in agreed time.
const AGREED_TIMES: [&str; 4] = ["forget_time", "join_wait", "join_wait_cap", "good_service"];

/// The limits under the names that they have in the file.
fn limits(c: &Cluster) -> Vec<(&'static str, u64)> {
    let (l, m) = (&c.limits, &c.limits.membership);
    vec![
        ("max_request", l.max_request.into()),
        ("max_output", l.max_output.into()),
        ("max_commands", l.max_commands.into()),
        ("max_candidates", l.max_candidates.into()),
        ("sole_quota", l.sole_quota.into()),
        ("forget_after", l.forget_after),
        ("forget_time", l.forget_time),
        ("max_sessions", l.max_sessions.into()),
        ("window", l.window.into()),
        ("checkpoint_every", l.checkpoint_every),
        ("max_unexecuted", l.max_unexecuted.into()),
        ("join_wait", m.join_wait),
        ("join_wait_cap", m.join_wait_cap),
        ("good_service", m.good_service),
        ("join_lag", m.join_lag),
    ]
}

/// The quotas under the names that they have in the file.
fn quotas(c: &Cluster) -> Vec<(&'static str, u64)> {
    let q = &c.quotas;
    vec![
        ("per_client", q.per_client.into()),
        ("global", q.global.into()),
        ("body_bytes", q.body_bytes),
        ("link_bytes", q.link_bytes),
        ("links_per_client", q.links_per_client.into()),
        ("kept_bytes", q.kept_bytes),
        ("snapshot_bytes", q.snapshot_bytes),
        ("transfer_bytes", q.transfer_bytes),
        ("transfer_rate", q.transfer_rate),
        ("log_bytes", q.log_bytes),
        ("peer_signatures", q.peer_signatures.into()),
    ]
}

/// What it survives, and by how many.
fn survives(c: &Cluster) -> Vec<(&'static str, String)> {
    let e = c.ensemble;
    let mut said = Vec::new();
    let mut add = |name: &'static str, value: String| said.push((name, value));
    add("fault model", c.fault_model.name().to_owned());
    add("replicas", format!("n = {} = 2t + 1", e.n()));
    match c.fault_model {
        FaultModel::Byzantine => add("may be bad", format!("t = {}", e.t())),
        FaultModel::FailStop if c.master_is_apart() => {
            let t = e.t();
            add("may stop", format!("t = {t} of the master, all members but one of a chain"));
        }
        FaultModel::FailStop => add("may stop", format!("t = {}", e.t())),
    }
    match c.fault_model {
        FaultModel::Byzantine => {
            add("majority", format!("{} equal replies are accepted (t + 1)", e.majority()));
            add("strong", format!("{} equal replies that no timing contradicts", e.strong()));
            let usual = c.assurance.name();
            add("assurance", format!("clients want {usual} unless they say otherwise"));
        }
        FaultModel::FailStop => add("accepted", "ONE reply, that of the tail".to_owned()),
    }
    if c.fault_model == FaultModel::FailStop {
        let chains = c.chains;
        let (lease, margin) = (show_duration(chains.lease), show_duration(chains.margin));
        let who = match chains.reads {
            Reads::Tail => "the tail answers",
            Reads::Any => "any member answers",
        };
        let names = |of: &[ReplicaEntry]| {
            of.iter().map(|r| r.id.to_string()).collect::<Vec<_>>().join(", ")
        };
        add("master", names(c.voters()));
        if c.master_is_apart() {
            add("chains' replicas", format!("{}, which have no vote", names(c.hosts())));
        }
        for chain in c.each_chain() {
            add("chain", chain_text(c, &chain));
        }
        add("lease", format!("{lease}, margin {margin}"));
        add("queries", who.to_owned());
    }
    said
}

/// A chain as it begins.
fn chain_text(c: &Cluster, chain: &ChainEntry) -> String {
    let spares = c.hosts().len() - usize::from(chain.length);
    let text = format!("{} members, {spares} spares", chain.length);
    match c.chain.is_empty() {
        true => text,
        false => {
            let begins: Vec<String> = chain.members.iter().map(|m| m.to_string()).collect();
            let begins = begins.join(" > ");
            format!("{}: {}; {text}; begins as {begins}", chain.number, chain.share)
        }
    }
}

/// Which chain has a key.
fn place_text(c: &Cluster, key: &str) -> String {
    let map = c.key_map();
    let slot = map.slot(key.as_bytes()).map_or_else(String::new, |slot| format!("slot {slot}, "));
    format!("{slot}chain {}\n", map.chain_of(key.as_bytes()))
}

fn place_json(c: &Cluster, key: &str) -> Value {
    let map = c.key_map();
    json!({
        "key": key, "slot": map.slot(key.as_bytes()), "chain": map.chain_of(key.as_bytes()),
    })
}

fn as_text(c: &Cluster) -> String {
    let mut out = String::new();
    let mut put = |name: &str, value: String| {
        writeln!(out, "{name:<22} {value}").expect("a string takes all that is written");
    };
    put("cluster id", c.id().to_hex());
    put("configuration digest", c.digest().to_hex());
    put("roster hash", roster(c));
    survives(c).into_iter().for_each(|(name, value)| put(name, value));
    put("service", c.service.name.clone());
    if let Some(initial) = &c.service.initial {
        put("initial state", initial.to_hex());
    }
    put("clock", clock(c).to_owned());
    put("durability", durability(c).to_owned());
    put("snapshots", format!("{} stay on the disk", c.snapshots));
    let mtu = |bytes| format!("datagrams of {bytes} bytes; all paths have to carry them");
    put("network", c.mtu.map_or("what a datagram holds is probed for".to_owned(), mtu));
    if c.testing.allow_liars {
        put("testing", "LIARS ARE ALLOWED: replicas may be started as liars".to_owned());
    }
    put("\ntimers", String::new());
    put("  delta", show_duration(c.timing.delta));
    for t in timers(&c.timing) {
        let note = match t.value == t.derived {
            true => format!("= {}", t.formula),
            false => {
                let derived = show_duration(t.derived);
                format!("set in the file; {} would be {derived}", t.formula)
            }
        };
        put(&format!("  {}", t.name), format!("{:<9} {note}", show_duration(t.value)));
    }
    warnings(c).into_iter().for_each(|text| put("  warning", text));
    put("\nlimits, shared by all replicas", String::new());
    for (name, value) in limits(c) {
        let shown = match (AGREED_TIMES.contains(&name), c.clock) {
            (true, ClockKind::Logical) => format!("{value} ticks"),
            (true, _) => show_duration(Duration::from_micros(value)),
            (false, _) => value.to_string(),
        };
        put(&format!("  {name}"), shown);
    }
    put("\nquotas of each process", String::new());
    for (name, value) in quotas(c) {
        put(&format!("  {name}"), value.to_string());
    }
    put("\nreplicas", String::new());
    for r in &c.replicas {
        let (key, admin) = (r.public_key.fingerprint(), r.admin);
        put(&format!("  {}", r.id), format!("key {key}  {}  admin {admin}", r.address));
        for former in &r.former_keys {
            let (key, until) = (former.key.fingerprint(), former.until);
            put("", format!("former key {key}, up to generation {until}"));
        }
    }
    put("\nclients", String::new());
    for client in &c.clients {
        let key = client.public_key.fingerprint();
        put(&format!("  {}", client.name), format!("key {key}  role {}", role(client.role)));
    }
    // Headings have nothing beside them.
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What stands for the keys of all replicas, for those who judge receipts without this file.
fn roster(c: &Cluster) -> String {
    let keyring = c.keyring::<Ed25519>(GroupId::MAIN);
    let keyring = keyring.expect("the parser of the cluster file has accepted its keys");
    roster_hash(&keyring).to_hex()
}

fn as_json(c: &Cluster) -> Value {
    let e = c.ensemble;
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let timer = |t: &Timer| {
        json!({
            "name": t.name.replace(' ', "_"),
            "microseconds": micros(t.value),
            "formula": t.formula,
            "overridden": t.value != t.derived,
        })
    };
    let timers: Vec<Value> = timers(&c.timing).iter().map(timer).collect();
    let replicas: Vec<Value> = c
        .replicas
        .iter()
        .map(|r| {
            json!({
                "id": r.id.number(),
                "address": r.address,
                "admin": r.admin.to_string(),
                "fingerprint": r.public_key.fingerprint(),
                "public_key": r.public_key.to_inline(),
                "former_keys": r.former_keys.iter().map(|former| json!({
                    "public_key": former.key.to_inline(),
                    "until": former.until,
                })).collect::<Vec<Value>>(),
            })
        })
        .collect();
    let client = |client: &ClientEntry| {
        json!({
            "name": client.name,
            "role": role(client.role),
            "fingerprint": client.public_key.fingerprint(),
            "public_key": client.public_key.to_inline(),
        })
    };
    let clients: Vec<Value> = c.clients.iter().map(client).collect();
    let fields: serde_json::Map<String, Value> =
        c.fields().into_iter().map(|(name, digest)| (name, digest.to_hex().into())).collect();
    json!({
        "cluster_id": c.id().to_hex(),
        "roster_hash": roster(c),
        "configuration_digest": c.digest().to_hex(),
        "fields": fields,
        "fault_model": c.fault_model.name(),
        "chain": chain_json(c),
        "n": e.n(),
        "hosts": c.replicas.iter().filter(|r| c.is_host(r.id)).map(|r| r.id.number())
            .collect::<Vec<_>>(),
        "t": e.t(),
        "majority": e.majority(),
        "strong": e.strong(),
        "service": c.service.name,
        "initial_state": c.service.initial.map(|d| d.to_hex()),
        "clock": clock(c),
        "durability": c.durability.name(),
        "assurance": c.assurance.name(),
        "snapshots": c.snapshots,
        "mtu": c.mtu,
        "allow_liars": c.testing.allow_liars,
        "delta_microseconds": micros(c.timing.delta),
        "timers": timers,
        "warnings": warnings(c),
        "limits": numbers(limits(c)),
        "quotas": numbers(quotas(c)),
        "replicas": replicas,
        "clients": clients,
    })
}

fn chain_json(c: &Cluster) -> Value {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    match c.fault_model {
        FaultModel::Byzantine => Value::Null,
        FaultModel::FailStop => json!({
            "length": c.chains.length,
            "lease_microseconds": micros(c.chains.lease),
            "margin_microseconds": micros(c.chains.margin),
            "reads": c.chains.reads,
            "chains": c.each_chain().iter().map(one_json).collect::<Vec<_>>(),
        }),
    }
}

fn one_json(chain: &ChainEntry) -> Value {
    json!({
        "number": chain.number,
        "keys": chain.share.to_string(),
        "length": chain.length,
        "members": chain.members.iter().map(|m| m.number()).collect::<Vec<_>>(),
    })
}

fn numbers(values: Vec<(&'static str, u64)>) -> Value {
    values.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn durability(c: &Cluster) -> &'static str {
    match c.durability {
        Durability::Reply => "reply: what is acknowledged outlives a power cut of all replicas",
        Durability::Strict => {
            "strict: that, and who stopped goes on where it was; two syncs more for each request"
        }
        Durability::None => "none: WHAT IS ACKNOWLEDGED IS LOST when more than t replicas stop",
    }
}

fn clock(c: &Cluster) -> &'static str {
    match c.clock {
        ClockKind::RealTime => "real-time",
        ClockKind::Hybrid => "hybrid",
        ClockKind::Logical => "logical",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};

    /// A cluster file in which `line` was replaced by `instead`.
    fn cluster(line: &str, instead: &str) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let new = write_cluster(&InitOptions::new(dir.path())).unwrap();
        let text = std::fs::read_to_string(&new.config_file).unwrap();
        assert!(text.contains(line), "{line}");
        std::fs::write(&new.config_file, text.replacen(line, instead, 1)).unwrap();
        load_cluster(&new.config_file).unwrap()
    }

    #[test]
    fn everything_that_follows_from_a_file_is_printed() {
        let c = cluster("", "");
        let (text, json) = (as_text(&c), as_json(&c).to_string());
        let mut parts = vec![c.id().to_hex(), c.digest().to_hex()];
        parts.extend(c.replicas.iter().map(|r| r.public_key.fingerprint()));
        parts.extend(c.clients.iter().map(|c| c.public_key.fingerprint()));
        parts.extend(limits(&c).iter().chain(&quotas(&c)).map(|(name, _)| (*name).to_owned()));
        parts.extend(timers(&c.timing).iter().map(|t| t.formula.to_owned()));
        for part in parts {
            assert!(text.contains(&part) && json.contains(&part), "{part}\n{text}");
        }
        for line in [
            "replicas               n = 3 = 2t + 1",
            "majority               2 equal replies",
            "strong                 3 equal replies",
            "  delta                100ms",
            "  patience             510ms     = 5 delta + join_delay",
            "  least patience       411ms     = 4 delta + join_delay + 1ms of timer grain",
            "  forget_time          10s",
        ] {
            assert!(text.lines().any(|l| l.starts_with(line)), "{line}\n{text}");
        }
        assert!(!text.contains("warning") && !text.contains("LIARS"), "{text}");
        assert_eq!(as_json(&c)["n"], 3);
    }

    /// No formula may say anything but what the default is.
    #[test]
    fn derived_timers_are_those_of_the_file() {
        for delta in ["1ms", "30ms", "100ms", "2s", "1m"] {
            let c = cluster("delta = \"100ms\"", &format!("delta = \"{delta}\""));
            assert!(timers(&c.timing).iter().all(|t| t.value == t.derived), "{delta}");
        }
    }

    /// What it does not survive is the first thing to know of this mode.
    #[test]
    fn a_chain_is_explained_with_what_it_does_not_survive() {
        let c = cluster("fault_model = \"byzantine\"", "fault_model = \"fail-stop\"");
        let text = as_text(&c);
        for part in ["2 members, 1 spares", "ONE reply", "may stop", "can make clients believe"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(as_json(&c)["chain"]["lease_microseconds"], 2_000_000);
        assert!(as_json(&cluster("", ""))["chain"].is_null());
        let line = format!("{:<22} 2 members, 1 spares", "chain");
        assert!(text.lines().any(|l| l == line), "{text}");
        assert_eq!(place_text(&c, "colour"), "chain 0\n");
    }

    #[test]
    fn of_several_chains_it_says_what_goes_where() {
        let chains = "fault_model = \"fail-stop\"";
        let two = "[[chain]]\nnumber = 0\nslots = \"0-511\"\n\
                   [[chain]]\nnumber = 3\nslots = \"512-1023\"\nmembers = [3]\n[order]";
        let c = cluster("[order]", two);
        let c = Cluster { fault_model: FaultModel::FailStop, ..c };
        let text = as_text(&c);
        for line in [
            "0: slots 0-511; 2 members, 1 spares; begins as R1 > R2",
            "3: slots 512-1023; 1 members, 2 spares; begins as R3",
        ] {
            assert!(text.lines().any(|l| l == format!("{:<22} {line}", "chain")), "{line}\n{text}");
        }
        assert!(text.contains("a chain of 1 members loses"), "{text}");
        assert_eq!(as_json(&c)["chain"]["chains"][1]["members"], json!([3]));
        assert_eq!(place_text(&c, "colour"), "slot 976, chain 3\n");
        assert_eq!(place_json(&c, "a"), json!({"key": "a", "slot": 152, "chain": 0}));
        assert_ne!(c.id(), cluster("fault_model = \"byzantine\"", chains).id());
    }

    #[test]
    fn what_differs_from_the_default_and_what_it_costs_is_said() {
        let text = as_text(&cluster("[order]", "[timers]\npatience = \"450ms\"\n[order]"));
        assert!(text.contains("450ms     set in the file; 5 delta + join_delay would be 510ms"));
        assert!(text.contains("warning") && text.contains("weakens the promise"), "{text}");
        let text = as_text(&cluster("[order]", "[testing]\nallow_liars = true\n[order]"));
        assert!(text.contains("LIARS ARE ALLOWED"), "{text}");
        let logical = "clock = \"logical\"\n[limits]\nforget_time = 77";
        let text = as_text(&cluster("clock = \"hybrid\"", logical));
        assert!(text.contains("77 ticks"), "{text}");
    }
}
