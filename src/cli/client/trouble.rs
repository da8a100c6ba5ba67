//! How results are shown, and why there is none.

use super::receipt::Receipts;
use super::{NEGATIVE, NEVER, NO_MAJORITY, USAGE, votes};
use crate::client::{CallError, ClientError, RequestName};
use crate::files::shell_word;
use crate::types::{ClientId, Digest};
use crate::voter::Explanation;
use crate::wire::{NoteKind, Refusal};
use serde_json::{Value, json};

/// How results are shown.
pub(super) struct Show {
    pub explain: bool,
    pub json: bool,
    /// Whether it is a fail-stop chain, in which nobody votes.
    pub chain: bool,
    /// What to do when there is no majority.
    pub advice: String,
    /// Where receipts go, if they are wanted.
    pub receipts: Option<Receipts>,
    /// How to ask anything else.
    pub ask: String,
    /// The request's name.
    pub name: Option<RequestName>,
    /// Cluster and client, for printing ids.
    pub own: (Digest, ClientId),
}

impl Show {
    /// The id of a call, if it has one.
    pub fn id(&self, explanation: &Explanation) -> Option<String> {
        explanation.id.map(|id| id.text(&self.own.0, &self.own.1))
    }

    /// How to find out what became of a call.
    pub fn how_to_know(&self, explanation: &Explanation) -> Option<String> {
        let id = self.id(explanation)?;
        let asked = self.name.as_ref().map_or_else(|| id.clone(), RequestName::to_string);
        let asked = shell_word(std::path::Path::new(&asked));
        Some(format!("its id is {id}; what became of it says: {} outcome {asked}\n", self.ask))
    }
}

/// Why there is no output.
pub(super) enum Trouble {
    /// The call failed.
    Call(CallError),
    /// No majority of links can come about.
    Links(ClientError),
}

impl Trouble {
    pub fn code(&self) -> u8 {
        match self {
            Trouble::Links(_) | Trouble::Call(CallError::Unacceptable(_)) => USAGE,
            Trouble::Call(CallError::NotTaken { .. }) => USAGE,
            // Only openings: it was not sent.
            Trouble::Call(error @ CallError::Refused { why: Refusal::UnknownSession, .. })
                if error.explanation().is_some_and(|e| e.sends == 0) =>
            {
                USAGE
            }
            Trouble::Call(CallError::Refused { .. }) => NEGATIVE,
            Trouble::Call(CallError::Withdrawn { .. }) => NEVER,
            Trouble::Call(
                CallError::NoMajority { .. }
                | CallError::SessionLost { .. }
                | CallError::Unreadable { .. }
                | CallError::Closed { .. },
            ) => NO_MAJORITY,
        }
    }

    // The error with who said what and what to check.
    pub fn text(&self, show: &Show) -> String {
        let Trouble::Call(error) = self else { return self.short() };
        let Some(explanation) = error.explanation() else { return self.short() };
        let (needed, n) = (explanation.needed, explanation.ballots.len());
        let table = votes::table(explanation);
        let waited = explanation.waited;
        let advice = if self.code() == NO_MAJORITY { &show.advice } else { "" };
        let know = match error.may_have_run() {
            true => show.how_to_know(explanation).unwrap_or_default(),
            false => String::new(),
        };
        let name = self.about_name(show);
        let needs = match show.chain {
            true => String::new(),
            false => format!("{needed} equal answers of {n} replicas are needed; "),
        };
        format!("{error}{name}\n{needs}after {waited:.1?}:\n{table}{know}{advice}")
    }

    // What an error means for a request that has a name.
    pub fn about_name(&self, show: &Show) -> String {
        let (Trouble::Call(error), Some(name)) = (self, &show.name) else { return String::new() };
        match error {
            CallError::Refused { why: Refusal::UnknownSession, explanation }
                if explanation.sends == 0 =>
            {
                format!(
                    "\nsessions of this key were evicted, and {name} may have run in one of them; \
                     it was not sent. If it was never used before, say so with --first"
                )
            }
            CallError::NotTaken { why: NoteKind::NumberTaken, .. } => format!(
                "\n{name} names another request, or one that ran and whose answer is no longer \
                 kept; see: {} outcome {name}",
                show.ask
            ),
            CallError::Withdrawn { .. } => format!("\ntake another name than {name}"),
            _ => String::new(),
        }
    }

    pub fn short(&self) -> String {
        match self {
            Trouble::Call(error) => error.to_string(),
            Trouble::Links(error) => error.to_string(),
        }
    }

    pub fn json(&self, show: &Show) -> Value {
        let may_have_run = matches!(self, Trouble::Call(error) if error.may_have_run());
        let mut document = json!({ "error": self.short(), "may_have_run": may_have_run });
        let explanation = match self {
            Trouble::Call(error) => error.explanation(),
            Trouble::Links(_) => None,
        };
        match explanation {
            Some(explanation) => {
                document["id"] = show.id(explanation).into();
                votes::put_json(explanation, &mut document);
            }
            None => document["votes"] = Value::Null,
        }
        document
    }
}
