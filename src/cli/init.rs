//! `quorate init`.

use super::{Subcommand, output};
use crate::config::{FaultModel, parse_duration};
use crate::files::init::{InitOptions, NewCluster, write_cluster};
use crate::files::shell_word;
use crate::service::BUILT_IN;
use crate::service::kv::Kv;
use clap::Args;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Make a new cluster: its file and the keys of all replicas and clients
#[derive(Args)]
pub(super) struct Init {
    /// How many replicas may crash, stall or lie; 2t + 1 replicas are made
    #[arg(long, default_value_t = 1)]
    t: u8,
    /// Where to: DIR/quorate.toml and DIR/keys/ are made; nothing is overwritten
    #[arg(long)]
    dir: PathBuf,
    /// What must be survived: byzantine (crashes and lies)
    #[arg(long, default_value = "byzantine", value_parser = fault_model)]
    fault_model: FaultModel,
    /// With fail-stop: how many replicas to make for chains alone, behind the 2t + 1 that are the
    /// master then; without, these are the chains', too
    #[arg(long, default_value_t = 0)]
    chain_replicas: u8,
    /// Replica i gets port BASE_PORT + i, and BASE_PORT + 100 + i for its admin address
    #[arg(long, default_value_t = 7100)]
    base_port: u16,
    /// How many clients to make keys for
    #[arg(long, default_value_t = 2)]
    clients: u16,
    /// The longest that a message between good replicas takes with its handling, such as 100ms
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    delta: Duration,
    /// Which service the replicas run: kv, counter, or your own by the name that it gives
    #[arg(long, default_value = Kv::NAME)]
    service: String,
    /// A file of `quorate snapshot save`, with whose state the new cluster shall begin
    #[arg(long, value_name = "FILE")]
    initial_state: Option<PathBuf>,
    /// Name or IP address of the host in all addresses; edit the file for several hosts
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
}

impl Subcommand for Init {
    fn run(self) -> anyhow::Result<ExitCode> {
        let initial = match &self.initial_state {
            Some(file) => Some(super::snapshot::initial_state(file)?.digest()),
            None => None,
        };
        let new = write_cluster(&InitOptions {
            directory: self.dir,
            t: self.t,
            fault_model: self.fault_model,
            chain_replicas: self.chain_replicas,
            base_port: self.base_port,
            clients: self.clients,
            delta: self.delta,
            host: self.host,
            allow_liars: false,
            service: self.service,
            initial,
        })?;
        output::print(&report(&new))?;
        busy_ports(&new).iter().for_each(|address| {
            eprintln!(
                "warning: {address} is in use on this machine; stop what uses it, or make the \
                 cluster with another --base-port"
            );
        });
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn fault_model(text: &str) -> Result<FaultModel, String> {
    match text {
        "byzantine" => Ok(FaultModel::Byzantine),
        "fail-stop" => Ok(FaultModel::FailStop),
        _ => Err("write byzantine or fail-stop".to_owned()),
    }
}

fn report(new: &NewCluster) -> String {
    let c = &new.cluster;
    let config = shell_word(&new.config_file);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    let chains = match c.master_is_apart() {
        true => format!(" {} more for chains,", c.hosts().len()),
        false => String::new(),
    };
    line(format!(
        "made {config}: {} replicas, of which {} may be bad,{chains} {} client{} and an operator",
        c.ensemble.n(),
        c.ensemble.t(),
        new.client_keys.len(),
        if new.client_keys.len() == 1 { "" } else { "s" }
    ));
    line(format!("cluster id {}", c.id()));
    line(String::new());
    line("next: look at it, then start each replica in a terminal of its own".to_owned());
    line(format!("  quorate check --config {config}"));
    let service = &c.service.name;
    if !BUILT_IN.contains(&service.as_str()) {
        let what = format!("with the program that has the service {service}, and ask it");
        line(format!("{what} with its client"));
        return out;
    }
    for (replica, key) in c.replicas.iter().zip(&new.replica_keys) {
        let (id, key) = (replica.id.number(), shell_word(key));
        line(format!("  quorate replica --config {config} --id {id} --key {key}"));
    }
    line("one that stops is left out by the others, and joins again when it is started".to_owned());
    if let Some(key) = new.client_keys.first().filter(|_| service == Kv::NAME) {
        let key = shell_word(key);
        line("and ask them something".to_owned());
        line(format!("  quorate client --config {config} --key {key} put greeting hello"));
    }
    out
}

/// Addresses of the new cluster on loopback that somebody uses already.
fn busy_ports(new: &NewCluster) -> Vec<SocketAddr> {
    let mut busy = Vec::new();
    for replica in &new.cluster.replicas {
        if let Ok(address) = replica.address.parse::<SocketAddr>()
            && address.ip().is_loopback()
            && UdpSocket::bind(address).is_err()
        {
            busy.push(address);
        }
        if replica.admin.ip().is_loopback() && TcpListener::bind(replica.admin).is_err() {
            busy.push(replica.admin);
        }
    }
    busy
}
