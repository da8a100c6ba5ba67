//! `quorate client`.

mod ask;
mod batch;
mod late;
mod outcome;
mod receipt;
mod trouble;
mod words;

use super::{Failure, Subcommand, USAGE, output, votes};
use crate::client::{Client as Connection, ClientError, ClientOptions, RequestName};
use crate::config::{FaultModel, parse_duration};
use crate::files::{load_cluster, read_secret_key, shell_word};
use crate::service::kv;
use crate::types::{Assurance, ClientId, GroupId, SessionId};
use ask::{Asked, ask};
use batch::Batch;
use clap::Args;
use outcome::Outcome;
use receipt::{NO_RECEIPT, Receipts, Written, ask_for_receipt};
use serde_json::{Value, json};
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trouble::{Show, Trouble};
use words::{Ask, Words};

/// Accepted, but the answer is no.
const NEGATIVE: u8 = 1;
/// No majority in time, or no answer of a chain.
const NO_MAJORITY: u8 = 3;
/// The request has not run and never will.
const NEVER: u8 = 4;
/// It has not run so far.
const NOT_YET: u8 = 5;
/// What became of it cannot be known any more.
const NOT_KNOWN: u8 = 6;

/// Ask the key-value service of a cluster, and believe what a majority answers alike
///
/// In a fail-stop cluster nobody votes: one replica of the chain is asked, and its answer is
/// believed.
///
/// Values are bytes: a literal, @FILE for a file's content, or - for standard input. A literal
/// that begins with @ is written with @@; before words that begin with - write --.
///
/// Exit code: 0 accepted; 1 accepted, but the answer is no (no such key, a mismatch, an error of
/// the service, refused by the order); 2 the command line, a file, or a configuration, such as a
/// key that is not admitted; 3 no majority in time, or in a fail-stop cluster no answer; 4 the
/// request has not run and never will, since it was withdrawn. Of `outcome` also 5 it has not run
/// so far (--peek), and 6 what became of it cannot be known any more. 7 accepted, but no receipt
/// of it came about.
///
/// Everything that is ordered has an id, which --explain and --json show, and so does an error
/// after which it is not known whether it ran. Reads that are not ordered have none.
///
/// With --json bytes are {"text": ...} if they are UTF-8, else {"hex": ...}.
#[derive(Args)]
pub(super) struct Client {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The client's private key file
    #[arg(long)]
    key: PathBuf,
    /// How long to wait for an answer
    #[arg(long, global = true, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// How many replicas have to say the same: majority (t + 1), or strong (3 of 3, 4 of 5, 6 of
    /// 7), which no timing can contradict. If this is not given, what the cluster file says in
    /// [voter]. No matter in a fail-stop cluster
    #[arg(long, global = true, value_name = "HOW", value_parser = assurance)]
    assurance: Option<Assurance>,
    /// Order reads like writes, instead of asking the replicas for what they have executed; what
    /// is read is as recent either way. No matter in a fail-stop cluster
    #[arg(long, global = true)]
    ordered: bool,
    /// Write a receipt into this file: what shows the answer to anybody who has the cluster file
    /// (`quorate receipt verify`). Reads are ordered for it. Of a batch: FILE.1, FILE.2 and so on,
    /// by line. Not in a fail-stop cluster
    #[arg(long, global = true, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Let --receipt replace a file that is there
    #[arg(long, global = true, requires = "receipt")]
    force: bool,
    /// A name for this request: sent again with the same name it does not run twice, and `outcome
    /// NAME` says what became of it, from anywhere with this key. What only reads is ordered then
    #[arg(long, global = true, value_name = "NAME", value_parser = RequestName::new)]
    request_id: Option<RequestName>,
    /// The name was never used before: says so where sessions of this key were evicted, so that
    /// nobody else can know it
    #[arg(long, global = true)]
    first: bool,
    /// Keep in FILE which requests are open, and go on with the same session next time. For one
    /// process at a time, key and cluster; `outcome` without an id asks about all that are open
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "request_id")]
    state: Option<PathBuf>,
    /// Print on standard error who said what; waits a little for those who are slower
    #[arg(long, global = true)]
    explain: bool,
    /// Print one JSON document for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    One(Words),
    /// Run many commands, one a line in the same words
    Batch(Batch),
    Outcome(Outcome),
}

impl Subcommand for Client {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        let key = read_secret_key(&self.key)?;
        if cluster.service.name != kv::Kv::NAME {
            let (file, service) = (self.config.display(), &cluster.service.name);
            let message = format!(
                "{file} runs the service {service}, and these are commands of kv: write a client \
                 of your own with quorate::Client"
            );
            return Err(Failure { code: USAGE, message }.into());
        }
        let receipts = self.receipt.clone();
        let receipts =
            receipts.map(|file| Receipts::new(&cluster, file, self.force)).transpose()?;
        let Client { config, key: key_file, timeout, explain, json, command, .. } = self;
        let (assurance, ordered) = (self.assurance, self.ordered);
        let advice = advice(&config, &key_file);
        let chain = cluster.fault_model == FaultModel::FailStop;
        let ask = format!(
            "quorate client --config {} --key {}",
            shell_word(&config),
            shell_word(&key_file)
        );
        let name = self.request_id.clone();
        let own = (cluster.context(GroupId::MAIN).cluster, ClientId(key.public().0));
        let show = Show { explain, json, chain, advice, receipts, ask, name, own };
        // Values come from files or from a person before there is a link that waits.
        let work = match command {
            Command::One(words) => Work::One(words.resolve(true)?),
            Command::Batch(batch) => Work::Batch(batch),
            Command::Outcome(outcome) => Work::Outcome(outcome),
        };
        match show.name {
            Some(_) => name_fits(&work, chain)?,
            // What is given before the command and after it is not seen together by the parser.
            None if self.first => return Err(usage("--first says something about --request-id")),
            None => {}
        }
        if show.receipts.is_some() && matches!(work, Work::Outcome(_)) {
            return Err(usage("--receipt: what became of a request has no receipt of its own"));
        }
        // What has a name has a place in the order.
        let ordered = ordered || show.name.is_some();
        // What is asked for is the time that it takes to be ordered.
        let ordered = ordered || matches!(&work, Work::One(Ask::Ping));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let options = ClientOptions {
                timeout,
                ordered,
                assurance,
                state_file: self.state,
                request_name: self.request_id,
                first_use: self.first,
                ..ClientOptions::default()
            };
            if let Work::Outcome(outcome) = work {
                return Ok(ExitCode::from(outcome.run(&cluster, &key, options, &show).await?));
            }
            let client = Connection::connect(&cluster, key, options).map_err(unusable)?;
            let code = match work {
                Work::One(what) => one(&client, what, &show).await,
                Work::Batch(batch) => batch.run(&client, timeout, &show).await,
                Work::Outcome(_) => unreachable!("it has a client of its own"),
            };
            client.close().await;
            Ok(ExitCode::from(code?))
        })
    }
}

/// What to do when there is no answer.
fn advice(config: &Path, key_file: &Path) -> String {
    let (config, key_file) = (config.display(), key_file.display());
    format!(
        "check each link with: quorate doctor --config {config} --key {key_file}\n\
         and what replicas wait for with: quorate status --config {config}"
    )
}

/// A client that cannot be made for what is in a file is the command line's fault.
fn unusable(error: ClientError) -> anyhow::Error {
    match &error {
        ClientError::State { .. } => Failure { code: USAGE, message: error.to_string() }.into(),
        _ => error.into(),
    }
}

fn usage(message: &str) -> anyhow::Error {
    Failure { code: USAGE, message: message.to_owned() }.into()
}

/// A name is for one request, which has a place in the order.
fn name_fits(work: &Work, chain: bool) -> Result<(), Failure> {
    let why = match work {
        Work::Batch(_) => {
            "--request-id names one request, and a batch has many: --json shows the id of each, \
             and --state remembers them"
        }
        Work::One(Ask::Scan { .. }) => {
            "--request-id names one request, and a scan may take several: it changes nothing, so \
             send it again as often as you like"
        }
        Work::Outcome(_) => "outcome takes the name as its argument, not as --request-id",
        Work::One(what) if chain && what.command().is_read_only() => {
            "reads of a fail-stop cluster are not ordered and have no id: send it again as often \
             as you like"
        }
        Work::One(_) => return Ok(()),
    };
    Err(Failure { code: USAGE, message: why.to_owned() })
}

pub(super) fn assurance(text: &str) -> Result<Assurance, String> {
    let known = [Assurance::Majority, Assurance::Strong];
    let found = known.into_iter().find(|known| known.name() == text);
    found.ok_or_else(|| "write majority or strong".to_owned())
}

/// What is to be done, all values at hand.
enum Work {
    One(Ask),
    Batch(Batch),
    Outcome(Outcome),
}

async fn one(client: &Connection, what: Ask, show: &Show) -> anyhow::Result<u8> {
    let began = Instant::now();
    let asking = async {
        match &show.receipts {
            None => (ask(client, &what).await, None),
            Some(receipts) => {
                let (asked, receipt) = ask_for_receipt(client, &what).await;
                (asked, Some((receipts, receipt)))
            }
        }
    };
    let (asked, receipt) = tokio::select! {
        biased;
        (asked, receipt) = asking => (asked.map_err(Trouble::Call), receipt),
        error = hopeless(client) => (Err(Trouble::Links(error)), None),
    };
    let took = began.elapsed();
    // Without an answer nothing is to be shown.
    let receipt = receipt.filter(|(_, outcome)| outcome.is_ok() || asked.is_ok());
    let written = receipt.map(|(receipts, outcome)| receipts.write(receipts.file(), &outcome));
    let code = show_one(client, (&what, asked), (took, written.as_ref()), show).await?;
    Ok(match &written {
        Some(Written { said: Err(_), .. }) => NO_RECEIPT,
        _ => code,
    })
}

async fn show_one(
    client: &Connection,
    (what, asked): (&Ask, Result<Asked, Trouble>),
    (took, written): (Duration, Option<&Written>),
    show: &Show,
) -> anyhow::Result<u8> {
    match asked {
        Ok(mut asked) => {
            // Of a chain one answers; the others stay silent.
            if show.explain && !show.chain {
                late::hear_the_rest(client, &mut asked.answer.explanation).await;
            }
            match show.json {
                true => receipt::print_json(asked_json(what, &asked, show), written)?,
                false => print_output(what, &asked.output, took)?,
            }
            if show.explain {
                eprint!("{}", votes::table(&asked.answer.explanation));
                match show.id(&asked.answer.explanation) {
                    Some(id) => eprintln!("id: {id}"),
                    None => eprintln!("no id: it was not ordered"),
                }
            }
            if !show.json {
                let request = Some(asked.answer.request);
                written.iter().for_each(|written| written.tell(request, show.explain));
            }
            Ok(if asked.output.is_negative() { NEGATIVE } else { 0 })
        }
        Err(trouble) => {
            match show.json {
                true => {
                    let mut document = trouble.json(show);
                    document["command"] = what.word().into();
                    receipt::print_json(document, written)?;
                }
                false => {
                    eprintln!("error: {}", trouble.text(show));
                    written.iter().for_each(|written| written.tell(None, show.explain));
                }
            }
            Ok(trouble.code())
        }
    }
}

/// Resolves once no majority of links can come about without somebody changing something.
async fn hopeless(client: &Connection) -> ClientError {
    match client.ready(Duration::MAX).await {
        Err(error) => error,
        Ok(()) => std::future::pending().await,
    }
}

fn asked_json(what: &Ask, asked: &Asked, show: &Show) -> Value {
    let answer = &asked.answer;
    let mut document = json!({
        "command": what.word(),
        "id": show.id(&answer.explanation),
        "negative": asked.output.is_negative(),
        "output": votes::output_json(&asked.output),
    });
    let mut put = |key: &str, value: Value| document[key] = value;
    match &answer.explanation.chain {
        // Queries have no session.
        Some(_) => {
            let is_update = !what.command().is_read_only();
            put("request", is_update.then(|| answer.request.to_string()).into());
            put("number", answer.position.round.0.into());
        }
        // Q1: it was answered from the replicas' states.
        None if answer.request.session == SessionId::QUERIES => {
            put("ordered", false.into());
            put("opening", answer.position.vector.to_hex().into());
        }
        None => {
            put("ordered", true.into());
            put("request", answer.request.to_string().into());
            put("round", answer.position.round.0.into());
            put("vector", answer.position.vector.to_hex().into());
            put("index", answer.index.into());
        }
    }
    votes::put_json(&answer.explanation, &mut document);
    document
}

fn print_output(what: &Ask, shown: &kv::Output, took: Duration) -> std::io::Result<()> {
    if shown.is_negative() {
        eprintln!("{}", votes::output_text(shown));
        return Ok(());
    }
    match shown {
        kv::Output::Value(value) if matches!(what, Ask::Get { .. }) => {
            let mut text = value.to_vec();
            if std::io::stdout().is_terminal() {
                text.push(b'\n');
            }
            output::print_bytes(&text)
        }
        kv::Output::Entries { entries, more } => {
            let mut text = String::new();
            for (key, value) in entries {
                text.push_str(&format!("{}\t{}\n", votes::escape(key), votes::escape(value)));
            }
            output::print(&text)?;
            if *more {
                writeln!(std::io::stderr(), "there are more; give a greater --limit")?;
            }
            Ok(())
        }
        kv::Output::Time(time) => output::print(&format!("agreed time {time}, took {took:.1?}\n")),
        other => output::print(&format!("{}\n", votes::output_text(other))),
    }
}
