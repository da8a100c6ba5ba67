//! `quorate admin chain`: what an operator says to the master of chains (docs/chain.md).

use super::judge_key;
use crate::cli::{Failure, USAGE, output};
use crate::client::{CallError, Client, ClientOptions};
use crate::config::{Cluster, FaultModel, parse_duration};
use crate::crypto::SecretKey;
use crate::files::{load_cluster, read_secret_key};
use crate::master::{Answer, Command as Order, Member};
use crate::types::ReplicaId;
use crate::wire::{ChainConfig, ChainMember};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Look at a chain of a cluster in the fail-stop model, or change who is in it
///
/// `show` may be asked by any client's key, and shows all chains if none is named. Exit code: 0 if
/// it is done; 1 if the master refuses or does not answer in time; 2 the command line, a file or
/// the key.
#[derive(Args)]
pub(super) struct Chain {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show its configuration, and what the master knows of each replica
    Show(Common),
    /// Give the members another order, from head to tail
    Reorder {
        #[command(flatten)]
        common: Common,
        /// All members, as in 2,1
        #[arg(long, value_delimiter = ',', required = true)]
        order: Vec<u8>,
    },
    /// Take a replica out, and let it in no more. In a chain of which nobody lives: what it had
    /// is lost, and the others do not wait for it
    Remove(About),
    /// Make a replica a spare, again or for the first time
    Add(About),
}

#[derive(Args)]
struct Common {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The private key file of a client; to change something, of one with the role admin
    #[arg(long)]
    key: PathBuf,
    /// How long to wait for the master
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    wait: Duration,
    /// The number of the chain, where the cluster file lists several
    #[arg(long)]
    chain: Option<u32>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The chains that it is about; one, if something is to be changed.
    fn chains(&self, cluster: &Cluster, changes: bool) -> Result<Vec<u32>, Failure> {
        let all: Vec<u32> = cluster.each_chain().iter().map(|c| c.number).collect();
        let numbers = all.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let usage = |message| Failure { code: USAGE, message };
        match self.chain {
            Some(number) if all.contains(&number) => Ok(vec![number]),
            Some(number) => Err(usage(format!("there is no chain {number}; there is {numbers}"))),
            None if changes && all.len() > 1 => {
                Err(usage(format!("say with --chain which one: there are {numbers}")))
            }
            None => Ok(all),
        }
    }
}

#[derive(Args)]
struct About {
    #[command(flatten)]
    common: Common,
    /// Whom it is about
    #[arg(long)]
    replica: u8,
}

impl Chain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (common, changes) = match &self.command {
            Command::Show(common) => (common, false),
            Command::Reorder { common, .. } => (common, true),
            Command::Remove(about) | Command::Add(about) => (&about.common, true),
        };
        let cluster = load_cluster(&common.config)?;
        let usage = |message: String| Failure { code: USAGE, message };
        if cluster.fault_model != FaultModel::FailStop {
            let file = common.config.display();
            let message = format!("{file} has fault_model = \"byzantine\": there is no chain");
            return Err(usage(message).into());
        }
        let key = read_secret_key(&common.key)?;
        if changes {
            judge_key(&cluster, &key.public(), &common.key, &common.config)?;
        } else if cluster.client_with_key(&key.public()).is_none() {
            let (file, config) = (common.key.display(), common.config.display());
            let message = format!("{config} lists no client with the key in {file}");
            return Err(usage(message).into());
        }
        let chains = common.chains(&cluster, changes)?;
        let named = |number: u8| {
            let id = ReplicaId::new(number).filter(|id| cluster.is_host(*id));
            let ids = cluster.hosts().iter().map(|r| r.id.to_string()).collect::<Vec<_>>();
            let ids = ids.join(", ");
            let message = format!("no replica {number} may be in a chain; those that may: {ids}");
            id.ok_or_else(|| usage(message))
        };
        let ask = match &self.command {
            Command::Show(_) => Ask::Show,
            Command::Reorder { order, .. } => {
                Ask::Reorder(order.iter().map(|n| named(*n)).collect::<Result<_, _>>()?)
            }
            Command::Remove(about) => Ask::Remove(named(about.replica)?),
            Command::Add(about) => Ask::Add(named(about.replica)?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let several = cluster.chain.len() > 1;
        match runtime.block_on(ask.run(&cluster, key, (&chains, common.wait)))? {
            Ok(shown) if common.json => output::print_json(&all_json(&shown, several))?,
            Ok(shown) => output::print(&all_text(&shown, several))?,
            Err(why) => {
                eprintln!("error: {why}");
                return Ok(ExitCode::from(super::NOT_DONE));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

enum Ask {
    Show,
    Reorder(Vec<ReplicaId>),
    Remove(ReplicaId),
    Add(ReplicaId),
}

impl Ask {
    async fn run(
        self,
        cluster: &Cluster,
        key: SecretKey,
        (chains, wait): (&[u32], Duration),
    ) -> anyhow::Result<Result<Vec<Shown>, String>> {
        let options = ClientOptions { timeout: wait, ..ClientOptions::default() };
        let client = Client::connect_to_master(cluster, key, options)?;
        let mut all = Vec::new();
        for chain in chains {
            match self.of(&client, *chain).await {
                Ok(shown) => all.push(shown),
                Err(why) => {
                    client.close().await;
                    return Ok(Err(why));
                }
            }
        }
        client.close().await;
        Ok(Ok(all))
    }

    async fn of(&self, client: &Client, chain: u32) -> Result<Shown, String> {
        let now = show(client, chain).await?;
        let order = match self {
            Self::Show => return Ok(now),
            Self::Reorder(order) => {
                Order::Reorder { chain, number: now.config.number, order: order.clone() }
            }
            Self::Remove(replica) => Order::Remove { chain, replica: *replica },
            Self::Add(replica) => Order::Add { chain, replica: *replica },
        };
        read(chain, client.execute(order.encode()).await)
    }
}

async fn show(client: &Client, chain: u32) -> Result<Shown, String> {
    read(chain, client.query(Order::Show { chain }.encode()).await)
}

fn all_text(shown: &[Shown], several: bool) -> String {
    let title = |s: &Shown| if several { format!("chain {}\n", s.chain) } else { String::new() };
    let texts = shown.iter().map(|s| format!("{}{}", title(s), s.text(wall())));
    texts.collect::<Vec<_>>().join("\n")
}

fn all_json(shown: &[Shown], several: bool) -> Value {
    match shown {
        [one] if !several => one.json(),
        all => json!({ "chains": all.iter().map(Shown::json).collect::<Vec<_>>() }),
    }
}

fn read(chain: u32, output: Result<bytes::Bytes, CallError>) -> Result<Shown, String> {
    let output = output.map_err(|e| match e.explanation() {
        Some(explanation) => format!("{e}\n{explanation}"),
        None => e.to_string(),
    })?;
    match Answer::parse(&output) {
        Ok(Answer::Chain { config, wanted, down, replicas }) => {
            Ok(Shown { chain, config, wanted, down, replicas })
        }
        Ok(Answer::Refused(why)) => Err(format!("the master refuses: {why}")),
        Err(e) => Err(format!("the answer is none of a master: {e}; compare the versions")),
    }
}

/// What the master says.
struct Shown {
    chain: u32,
    config: ChainConfig,
    wanted: u8,
    down: bool,
    replicas: Vec<Member>,
}

impl Shown {
    fn place(&self, replica: ReplicaId) -> &'static str {
        let members = &self.config.members;
        match members.iter().position(|m| m.replica == replica) {
            Some(0) if members.len() == 1 => "alone",
            Some(0) => "head",
            Some(place) if place + 1 == members.len() => "tail",
            Some(_) => "middle",
            None if self.config.joining.is_some_and(|m| m.replica == replica) => "joining",
            None => "spare",
        }
    }

    /// For people; `now` is the wall clock in microseconds.
    fn text(&self, now: u64) -> String {
        let number = self.config.number;
        let members = self.config.members.iter().map(|m| m.replica.to_string());
        let members = members.collect::<Vec<_>>().join(" > ");
        let mut text = match number {
            0 => format!("the chain has not begun: it waits for {members}\n"),
            _ => format!("configuration {number}: {members} ({} wanted)\n", self.wanted),
        };
        if self.down && number > 0 {
            text.push_str(
                "no member lives: it goes on when all of them have reported what their disks \
                 have. If one is lost for good: quorate admin chain remove\n",
            );
        }
        let _ = writeln!(text, "\nreplica  place    lease    last on its disk");
        for m in &self.replicas {
            // Agreed time follows the wall clock, within the margin.
            let left = Duration::from_micros(m.expires.saturating_sub(now));
            let lease = if left.is_zero() { "none".to_owned() } else { format!("{left:.1?}") };
            let last = format!("{} of configuration {}", m.last.number, m.last.config);
            let mut notes = String::new();
            for (is, note) in [(m.barred, "removed"), (m.lost, "its disk was replaced")] {
                if is {
                    let _ = write!(notes, "  {note}");
                }
            }
            let (id, place) = (m.replica.to_string(), self.place(m.replica));
            let _ = writeln!(text, "{id:<8} {place:<8} {lease:<8} {last}{notes}");
        }
        text
    }

    fn json(&self) -> Value {
        let id = |m: &ChainMember| m.replica.number();
        let replica = |m: &Member| {
            json!({
                "replica": m.replica.number(), "place": self.place(m.replica),
                "life": m.incarnation, "lease_until": m.expires,
                "last": {"configuration": m.last.config, "number": m.last.number},
                "removed": m.barred, "disk_lost": m.lost,
            })
        };
        json!({
            "chain": self.chain,
            "configuration": self.config.number,
            "members": self.config.members.iter().map(id).collect::<Vec<_>>(),
            "joining": self.config.joining.as_ref().map(id),
            "wanted": self.wanted,
            "down": self.down,
            "replicas": self.replicas.iter().map(replica).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ChainPosition;

    #[test]
    fn people_see_places_and_what_keeps_the_chain_down() {
        let replica = ReplicaId::from_index;
        let member = |i| ChainMember { replica: replica(i), incarnation: 1 };
        let known = |i: usize, lost| {
            let last = ChainPosition { config: 3, number: 40 };
            let (replica, barred) = (replica(i), i == 2);
            let expires = 1_500_001 * i as u64;
            Member { replica, incarnation: 1, expires, last, barred, lost }
        };
        let config = ChainConfig { number: 4, members: vec![member(1), member(0)], joining: None };
        let replicas = vec![known(0, true), known(1, false), known(2, false)];
        let shown = Shown { chain: 0, config, wanted: 2, down: true, replicas };
        let text = shown.text(1);
        for line in [
            "configuration 4: R2 > R1 (2 wanted)",
            "R1       tail     none     40 of configuration 3  its disk was replaced",
            "R2       head     1.5s     40 of configuration 3",
            "R3       spare    3.0s     40 of configuration 3  removed",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains("quorate admin chain remove"), "{text}");
        assert_eq!(shown.json()["members"], json!([2, 1]));
        let shown = [shown];
        assert!(all_text(&shown, true).starts_with("chain 0\nconfiguration 4"));
        assert!(all_text(&shown, false).starts_with("configuration 4"));
        assert_eq!(all_json(&shown, true)["chains"][0]["chain"], json!(0));
        assert_eq!(all_json(&shown, false)["chain"], json!(0));
    }
}
