//! `quorate client outcome`.

use super::super::{Failure, USAGE, output, votes};
use super::{NEGATIVE, NEVER, NO_MAJORITY, NOT_KNOWN, NOT_YET, Show, Trouble, unusable, usage};
use crate::client::{
    CallError, CallId, Client, ClientError, ClientOptions, Fate, OutcomeError, RequestName, Told,
    Which,
};
use crate::config::Cluster;
use crate::crypto::SecretKey;
use crate::service::kv;
use crate::types::ID_SEPARATOR;
use crate::wire::Refusal;
use clap::Args;
use serde_json::{Value, json};

/// Say what became of a request: whether it ran, and with which output
///
/// A request that has not run is withdrawn, so that it never will; with --peek nothing is changed.
/// It may be asked as often as you like.
///
/// Exit code: as that of the request if it ran, 0, or 1 if its answer was no or it was refused; 4
/// it has not run and never will; 5 it has not run so far (--peek only); 6 it cannot be known any
/// more, but it will not run again; 2 and 3 as always: nothing is known then. Asked about several,
/// the largest of these.
#[derive(Args)]
pub(super) struct Outcome {
    /// The id, as --explain, --json and errors show it, or the name that --request-id gave it.
    /// Without it, all requests that are open by the file of --state
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only look
    #[arg(long)]
    peek: bool,
}

impl Outcome {
    /// Asks; the exit code.
    pub async fn run(
        self,
        cluster: &Cluster,
        key: &SecretKey,
        options: ClientOptions,
        show: &Show,
    ) -> anyhow::Result<u8> {
        let which = self.id.as_deref().map(|text| which(text, show)).transpose()?;
        // One that only asks about itself needs no other client beside it.
        let Some(path) = &options.state_file else {
            let which = which.ok_or_else(|| usage("give an id or a name, or --state"))?;
            let told = self.ask(cluster, key, &options, &which).await;
            return self.show(&[(which, told)], show);
        };
        let path = path.clone();
        let client = Client::connect(cluster, key.clone(), options.clone()).map_err(unusable)?;
        let asked = match which {
            Some(which) => vec![which],
            None => client.open_requests().await.into_iter().map(Which::Id).collect(),
        };
        let mut all = Vec::new();
        for which in asked {
            let told = match (&which, self.peek) {
                (Which::Id(id), true) => client.peek(*id).await,
                (Which::Id(id), false) => client.outcome(*id).await,
                (Which::Name(_), _) => self.ask(cluster, key, &options, &which).await,
            };
            all.push((which, told));
        }
        client.close().await;
        if all.is_empty() && !show.json {
            eprintln!("no request is open by {}", path.display());
        }
        self.show(&all, show)
    }

    async fn ask(
        &self,
        cluster: &Cluster,
        key: &SecretKey,
        options: &ClientOptions,
        which: &Which,
    ) -> Result<Told, OutcomeError> {
        match self.peek {
            true => Client::look(cluster, key, options, which).await,
            false => Client::ask_outcome(cluster, key, options, which).await,
        }
    }

    fn show(&self, all: &[Asked], show: &Show) -> anyhow::Result<u8> {
        let mut documents = Vec::new();
        for (which, told) in all {
            let name = name_of(which, show);
            match (told, show.json) {
                (told, true) => documents.push(document(&name, told, show)),
                (Ok(told), false) => {
                    output::print(&format!("{name}: {}\n", in_words(&told.fate)))?;
                    if show.explain {
                        eprint!("{}", votes::table(&told.explanation));
                    }
                }
                (Err(OutcomeError::Call(error)), false) => {
                    let error = Trouble::Call(error.clone()).text(show);
                    eprintln!("error: {name}: what became of it is not known: {error}");
                }
                (Err(error), false) => eprintln!("error: {name}: {error}"),
            }
        }
        if show.json {
            // One document for one question.
            match (self.id.is_some(), documents.pop()) {
                (true, Some(only)) => output::print_json(&only)?,
                (_, last) => {
                    documents.extend(last);
                    output::print_json(&json!({ "outcomes": documents }))?;
                }
            }
        }
        Ok(all.iter().map(|(_, told)| code(told)).max().unwrap_or(0))
    }
}

/// What was asked, and what came of that.
type Asked = (Which, Result<Told, OutcomeError>);

// An id is checked; everything else is a name.
fn which(text: &str, show: &Show) -> anyhow::Result<Which> {
    let wrong = |why: String| Failure { code: USAGE, message: format!("{text}: {why}") };
    let which = match text.contains(ID_SEPARATOR) {
        true => {
            let (cluster, client) = &show.own;
            CallId::parse(text, cluster, client).map(Which::Id).map_err(|e| wrong(e.to_string()))
        }
        false => RequestName::new(text).map(Which::Name).map_err(wrong),
    };
    Ok(which?)
}

fn name_of(which: &Which, show: &Show) -> String {
    match which {
        Which::Id(id) => id.text(&show.own.0, &show.own.1),
        Which::Name(name) => name.to_string(),
    }
}

fn outputs_of(fate: &Fate) -> Vec<Result<kv::Output, String>> {
    match fate {
        Fate::Executed { outputs, .. } => {
            let read = |output| kv::Output::parse(output).map_err(|e| e.to_string());
            outputs.iter().map(read).collect()
        }
        _ => Vec::new(),
    }
}

fn in_words(fate: &Fate) -> String {
    match fate {
        Fate::Executed { position, .. } => {
            let text = |output: &Result<kv::Output, String>| match output {
                Ok(output) => votes::output_text(output),
                Err(e) => format!("an output that is none: {e}"),
            };
            let outputs: Vec<String> = outputs_of(fate).iter().map(text).collect();
            format!("executed in step {}: {}", position.round, outputs.join(", "))
        }
        Fate::Refused(why) => format!("refused: {why}"),
        Fate::NeverRuns => "not executed, and never will be".to_owned(),
        Fate::NotYet => "not executed so far; it may still be".to_owned(),
        Fate::Gone => {
            "not known any more: it was executed or withdrawn, or answered before; it will not be \
             executed again"
                .to_owned()
        }
        Fate::Evicted => {
            "not known any more: sessions of this key were evicted, and it may have been executed \
             in one of them"
                .to_owned()
        }
    }
}

fn document(name: &str, told: &Result<Told, OutcomeError>, show: &Show) -> Value {
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let mut document = match error {
                OutcomeError::Call(error) => Trouble::Call(error.clone()).json(show),
                other => json!({ "error": other.to_string() }),
            };
            (document["request"], document["outcome"]) = (name.into(), Value::Null);
            return document;
        }
    };
    let word = match &told.fate {
        Fate::Executed { .. } => "executed",
        Fate::Refused(_) => "refused",
        Fate::NeverRuns => "never",
        Fate::NotYet => "not_yet",
        Fate::Gone => "gone",
        Fate::Evicted => "evicted",
    };
    let mut document = json!({ "request": name, "outcome": word });
    match &told.fate {
        Fate::Executed { position, index, .. } => {
            let outputs = outputs_of(&told.fate).into_iter();
            let outputs = outputs.map(|o| o.map_or_else(Value::from, |o| votes::output_json(&o)));
            document["outputs"] = outputs.collect();
            document["round"] = position.round.0.into();
            document["index"] = (*index).into();
        }
        Fate::Refused(why) => document["reason"] = why.to_string().into(),
        _ => {}
    }
    votes::put_json(&told.explanation, &mut document);
    document
}

fn code(told: &Result<Told, OutcomeError>) -> u8 {
    let told = match told {
        Ok(told) => told,
        Err(OutcomeError::Call(CallError::Unacceptable(_) | CallError::NotTaken { .. })) => {
            return USAGE;
        }
        Err(OutcomeError::Client(ClientError::State { .. }) | OutcomeError::NoChain(_)) => {
            return USAGE;
        }
        Err(_) => return NO_MAJORITY,
    };
    match &told.fate {
        Fate::Executed { .. } => {
            let outputs = outputs_of(&told.fate);
            let is_no = outputs.iter().any(|o| o.as_ref().is_ok_and(kv::Output::is_negative));
            if is_no { NEGATIVE } else { 0 }
        }
        Fate::Refused(Refusal::OutputTooLarge) => 0,
        Fate::Refused(_) => NEGATIVE,
        Fate::NeverRuns => NEVER,
        Fate::NotYet => NOT_YET,
        Fate::Gone | Fate::Evicted => NOT_KNOWN,
    }
}
