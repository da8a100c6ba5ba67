//! `quorate admin`.

mod chain;
mod replace;
mod send;

use super::ask::{self, Answer, most_say};
use super::status::trouble::{duration, names, reason};
use super::{Failure, Subcommand, USAGE, output, votes};
use crate::config::{Cluster, parse_duration};
use crate::crypto::{Ed25519, PublicKey, Scheme as _, SecretKey};
use crate::files::{load_cluster, read_secret_key, shell_word};
use crate::replica::{Place, Why};
use crate::types::{ClockKind, GroupId, ReplicaId, Role};
use crate::wire::{Author, Change, OperatorChange, SignedChange};
use clap::Args;
use send::Sender;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// It would have no effect, or nothing came of it in time.
const NOT_DONE: u8 = 1;
/// Between two looks at the replicas.
const POLL: Duration = Duration::from_millis(50);
/// How long a replica may take to say how it is; one that is stopped must not hold up the others.
const LOOK: Duration = Duration::from_millis(500);

/// Command the group: take a replica out, bring it back, forgive one that lied, replace a key
///
/// The key must be that of a [[client]] with role = "admin". Commands are ordered like requests:
/// they need a majority of the replicas. Exit code: 0 if it is done; 1 if it would have no effect,
/// or nothing came of it in time; 2 the command line, a file or the key.
#[derive(Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take a replica out: nobody waits for it then; it stays out until it is started again
    Leave(Order),
    /// Let a replica that an operator took out, and that runs, join again
    Join(Order),
    /// Let a replica in again that was expelled for a lie; proofs of older lies are void then. Or
    /// forgive a member that it gave up, after a power cut or a quarantine, what it may have
    /// answered
    Readmit(Order),
    Chain(chain::Chain),
    /// Give a replica another key: the old one is refused, the new one joins by itself
    ReplaceKey(Replace),
}

#[derive(Args)]
struct Replace {
    #[command(flatten)]
    order: Order,
    /// The new public key: a .pub.pem file of `quorate keygen`, or the key itself
    #[arg(long)]
    new_key: String,
    /// Write the new key into the cluster file, too
    #[arg(long)]
    write: bool,
}

#[derive(Args)]
struct Order {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The private key file of a client with the role admin
    #[arg(long)]
    key: PathBuf,
    /// Whom it is about
    #[arg(long)]
    replica: u8,
    /// How long to wait for the effect
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    wait: Duration,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Leave,
    Join,
    Readmit,
    ReplaceKey(PublicKey),
}

impl Subcommand for Admin {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (what, order, replace) = match self.command {
            Command::Chain(chain) => return chain.run(),
            Command::Leave(order) => (What::Leave, order, None),
            Command::Join(order) => (What::Join, order, None),
            Command::Readmit(order) => (What::Readmit, order, None),
            // Which key, the cluster file has to help to say.
            Command::ReplaceKey(r) => (What::Join, r.order, Some((r.new_key, r.write))),
        };
        let cluster = load_cluster(&order.config)?;
        let key = read_secret_key(&order.key)?;
        judge_key(&cluster, &key.public(), &order.key, &order.config)?;
        let replica = ReplicaId::new(order.replica).filter(|r| cluster.ensemble.contains(*r));
        let Some(replica) = replica else {
            let (file, n) = (order.config.display(), cluster.ensemble.n());
            let votes = if cluster.master_is_apart() { " that votes" } else { "" };
            let message = format!(
                "{file} has no replica {}{votes}; give --replica with a number from 1 to {n}",
                order.replica
            );
            return Err(Failure { code: USAGE, message }.into());
        };
        let what = match &replace {
            Some((text, _)) => What::ReplaceKey(replace::new_key(text, &cluster, replica)?),
            None => what,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let job = Job { what, replica, cluster: &cluster };
        let began = Instant::now();
        let result = runtime.block_on(job.run(&key, order.wait))?;
        let took = began.elapsed();
        if let (Ok(done), Some((_, true))) = (&result, &replace) {
            replace::write(&order.config, replica, &done.is)?;
        }
        match (&result, order.json) {
            (_, true) => output::print_json(&job.json(&result, took))?,
            (Ok(done), false) => output::print(&format!("{}\n", job.done(done, took)))?,
            (Err(why), false) => {
                let look = format!("quorate status --config {}", shell_word(&order.config));
                eprintln!("error: {why}\nlook at the group with: {look}");
            }
        }
        Ok(ExitCode::from(if result.is_ok() { 0 } else { NOT_DONE }))
    }
}

// The replicas judge it by their own files; here the mistake can be explained.
fn judge_key(
    cluster: &Cluster,
    key: &PublicKey,
    key_file: &Path,
    config: &Path,
) -> anyhow::Result<()> {
    let named = |path: &Path| path.display().to_string();
    let (file, config) = (named(key_file), named(config));
    let message = match cluster.client_with_key(key) {
        Some(client) if client.role == Role::Admin => return Ok(()),
        Some(client) => format!(
            "{file} is the key of the client {}, whose role in {config} is not admin; give the \
             key of one with role = \"admin\"",
            votes::escape(client.name.as_bytes())
        ),
        None => format!(
            "{file} is the key of no client in {config}; add a [[client]] with role = \"admin\" \
             on all hosts before the replicas start, or give the key of one"
        ),
    };
    Err(Failure { code: USAGE, message }.into())
}

struct Job<'a> {
    what: What,
    replica: ReplicaId,
    cluster: &'a Cluster,
}

/// What was found in the end.
struct Done {
    was: Place,
    is: Place,
    epoch: String,
    members: Vec<u8>,
    /// Whether there was anything to do.
    changed: bool,
}

impl Job<'_> {
    /// Does it: `Err` within says why it is not done.
    async fn run(&self, key: &SecretKey, wait: Duration) -> anyhow::Result<Result<Done, String>> {
        let deadline = Instant::now() + wait;
        let before = loop {
            let answers = ask::all(self.cluster, LOOK).await;
            match self.known(&answers) {
                Some((place, members, epoch)) => {
                    break (place.clone(), members.to_vec(), epoch.to_owned());
                }
                None if Instant::now() > deadline => return Ok(Err(self.unknown(&answers))),
                None => tokio::time::sleep(POLL).await,
            }
        };
        let (was, members, epoch) = before;
        match self.without_effect(&was, &members) {
            Some(Ok(())) => {
                let is = was.clone();
                return Ok(Ok(Done { was, is, epoch, members, changed: false }));
            }
            Some(Err(why)) => return Ok(Err(why)),
            None => {}
        }
        let sender = Sender::start(self.cluster, key, self.signed(key))?;
        let result = loop {
            let answers = ask::all(self.cluster, LOOK).await;
            if let Some((is, members, epoch)) = self.known(&answers)
                && self.is_done(&was, is)
            {
                let (members, epoch, is) = (members.to_vec(), epoch.to_owned(), is.clone());
                break Ok(Done { was, is, epoch, members, changed: true });
            }
            if Instant::now() > deadline {
                break Err(self.nothing(&answers, &sender, wait));
            }
            tokio::time::sleep(POLL).await;
        };
        sender.end().await;
        Ok(result)
    }

    /// What `t + 1` say alike of the replica, with members and epoch as one of them knows them.
    fn known<'a>(&self, answers: &'a [Answer]) -> Option<(&'a Place, &'a [u8], &'a str)> {
        let said = most_say(answers, self.replica)?;
        let enough = said.by.len() >= self.cluster.ensemble.majority();
        let (first, _) = *said.by.first().filter(|_| enough)?;
        let status = answers.get(usize::from(first) - 1)?.as_ref().ok()?;
        Some((said.place, &status.members, &status.epoch))
    }

    /// `Ok` if all is as it should be already, `Err` if nothing would come of it.
    fn without_effect(&self, is: &Place, members: &[u8]) -> Option<Result<(), String>> {
        let (id, number, needed) = (self.replica, self.replica.number(), members.len());
        let majority = self.cluster.ensemble.majority();
        match (self.what, is.why.filter(|_| !is.member)) {
            (What::Leave, None) if needed <= majority => Some(Err(format!(
                "{id} cannot leave: only {majority} members are left, and fewer cannot go on; let \
                 another one join first"
            ))),
            (What::Leave, Some(Why::Left)) | (What::Join, None) => Some(Ok(())),
            (What::ReplaceKey(key), _) if is.key == Some(key.to_inline()) => Some(Ok(())),
            (What::ReplaceKey(key), _)
                if is.former_keys.iter().any(|former| former.key == key.to_inline()) =>
            {
                Some(Err(format!("{id} had this key before; make a new one: quorate keygen")))
            }
            (What::ReplaceKey(_), None) if needed <= majority => Some(Err(format!(
                "the key of {id} cannot be replaced: only {majority} members are left, and fewer \
                 cannot go on; let another one join first"
            ))),
            (What::Leave, Some(why @ (Why::Restarted | Why::Silent))) => Some(Err(format!(
                "{id} is no member now: {}. It joins again by itself if it runs, so stop it, or \
                 let it leave once it is back",
                reason(why)
            ))),
            (What::Leave, Some(why @ Why::Lied)) => {
                Some(Err(format!("{id} is no member: {}", reason(why))))
            }
            (What::Join, Some(why @ Why::Lied)) => Some(Err(format!(
                "{id} cannot join: {}. To let it in again: \
                 quorate admin readmit --replica {number}",
                reason(why)
            ))),
            (What::Readmit, None) if is.rolled => None,
            (What::Readmit, None) => Some(Err(format!("{id} was not expelled: it is a member"))),
            (What::Readmit, Some(why @ (Why::Left | Why::Restarted | Why::Silent))) => {
                Some(Err(format!("{id} was not expelled for a lie: {}", reason(why))))
            }
            (What::Leave, None)
            | (What::Join, Some(Why::Left | Why::Restarted | Why::Silent))
            | (What::Readmit, Some(Why::Lied))
            | (What::ReplaceKey(_), _) => None,
        }
    }

    fn signed(&self, key: &SecretKey) -> OperatorChange {
        let replica = self.replica;
        // Nobody joins but by its own word (M1): a replica that is kept out is told that it may.
        let change = match self.what {
            What::Leave => Change::Leave { replica, stays: true },
            What::Join => Change::Recall { replica },
            What::Readmit => Change::Readmit { replica },
            What::ReplaceKey(key) => Change::ReplaceKey { replica, key },
        };
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let serial = since_1970.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
        let author = Author::Operator(key.public());
        let (context, signer) = (self.cluster.context(GroupId::MAIN), Ed25519::signer(key));
        OperatorChange(SignedChange::sign::<Ed25519>(change, author, serial, &context, &signer))
    }

    fn is_done(&self, was: &Place, is: &Place) -> bool {
        match self.what {
            // It may be back already.
            What::Leave => !is.member || is.since != was.since,
            What::Join => is.member,
            What::Readmit if was.member && was.rolled => !is.rolled,
            // It may have lied again already.
            What::Readmit => is.member || is.why != Some(Why::Lied) || is.since != was.since,
            What::ReplaceKey(key) => is.key == Some(key.to_inline()),
        }
    }

    fn done(&self, done: &Done, took: Duration) -> String {
        let id = self.replica;
        let (epoch, members) = (votes::escape(done.epoch.as_bytes()), names(&done.members));
        let took = duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let when = match done.changed {
            true => format!("after {took}: epoch {epoch} of {members}"),
            false => format!("already: epoch {epoch} of {members}"),
        };
        match self.what {
            What::Leave if done.is.member => {
                format!("{id} has left and is a member again, {when}.")
            }
            What::Leave => format!(
                "{id} is a member no longer, {when}. Nobody waits for it. It joins once it is \
                 started again, or told to: quorate admin join --replica {}.",
                id.number()
            ),
            What::Join => format!("{id} is a member, {when}."),
            What::Readmit if done.is.member => {
                format!("{id} is a member, and nothing is held against it, {when}.")
            }
            What::Readmit if done.is.why == Some(Why::Lied) => {
                format!("{id} was let in again, and has lied again, {when}.")
            }
            What::Readmit => format!("{id} may join again, {when}. It does so while it runs."),
            What::ReplaceKey(key) => format!(
                "{id} has the key {} now, {when}. Stop its old process, and start it with the new \
                 key and an empty data directory: it joins by itself.\nThe entry of replica {} in \
                 the cluster file has to say, on all hosts and at all clients:\n{}",
                key.fingerprint(),
                id.number(),
                replace::lines(&done.is).trim_end()
            ),
        }
    }

    fn unknown(&self, answers: &[Answer]) -> String {
        let needed = self.cluster.ensemble.majority();
        let mut text = format!(
            "fewer than {needed} replicas say the same of {}, so nothing was sent; start those \
             that do not answer",
            self.replica
        );
        for (entry, answer) in self.cluster.replicas.iter().zip(answers) {
            if let Err(why) = answer {
                text.push_str(&format!("\n  {}: {}", entry.id, votes::escape(why.as_bytes())));
            }
        }
        text
    }

    fn nothing(&self, answers: &[Answer], sender: &Sender, wait: Duration) -> String {
        let (id, wait) = (self.replica, wait.as_secs_f64());
        let mut text = format!("nothing came of it in {wait} s; it may still take effect");
        let said = most_say(answers, id);
        if let Some((said, agreed)) = said.and_then(|s| Some((s.place, s.by.first()?.1))) {
            let left = said.may_join.unwrap_or_default().saturating_sub(agreed);
            let time = match self.cluster.clock {
                ClockKind::Logical => format!("{left} ticks"),
                ClockKind::RealTime | ClockKind::Hybrid => duration(left),
            };
            if self.what == What::Join && left > 0 {
                text.push_str(&format!("\n  {id} may join in {time}, not before"));
            }
        }
        let own = answers.get(id.index());
        if self.what == What::Join && own.is_some_and(Result::is_err) {
            text.push_str(&format!("\n  {id} does not answer: start it, and it joins by itself"));
        }
        let others = self.cluster.ensemble.replicas().filter(|r| *r != id);
        let replaced = |r: &ReplicaId| most_say(answers, *r).is_some_and(|s| s.place.replacing);
        if let (What::ReplaceKey(_), Some(other)) = (self.what, others.into_iter().find(replaced)) {
            text.push_str(&format!("\n  the key of {other} is being replaced: one at a time"));
        }
        for (replica, trouble) in sender.troubles() {
            text.push_str(&format!("\n  no link to {replica}: {trouble}"));
        }
        text
    }

    fn json(&self, result: &Result<Done, String>, took: Duration) -> Value {
        let command = match self.what {
            What::Leave => "leave",
            What::Join => "join",
            What::Readmit => "readmit",
            What::ReplaceKey(_) => "replace-key",
        };
        let (done, error) = (result.as_ref().ok(), result.as_ref().err());
        json!({
            "command": command,
            "replica": self.replica.number(),
            "done": done.is_some(),
            "changed": done.is_some_and(|d| d.changed),
            "was": done.map(|d| &d.was),
            "is": done.map(|d| &d.is),
            "epoch": done.map(|d| &d.epoch),
            "members": done.map(|d| &d.members),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "error": error,
        })
    }
}

#[cfg(test)]
mod tests;
