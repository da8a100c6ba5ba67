//! One command, asked.

use super::words::{Ask, page};
use crate::client::{Answer, CallError, Client, Command, CommandKind};
use crate::service::kv;
use crate::wire::Refusal;

/// What came of a command.
pub(super) struct Asked {
    /// The output; of a scan all its pages.
    pub output: kv::Output,
    /// The answer it came in; of a scan that of the last page.
    pub answer: Answer,
}

/// Asks, in a request of its own, as often as a scan has pages.
pub(super) async fn ask(client: &Client, what: &Ask) -> Result<Asked, CallError> {
    let Ask::Scan { prefix, limit } = what else {
        return read(client.call(vec![command(&what.command())]).await?);
    };
    let mut found = Vec::new();
    loop {
        let left = limit.saturating_sub(found.len() as u64);
        let after = found.last().map_or(&b""[..], |(key, _): &(bytes::Bytes, _)| key);
        let scan = kv::Command::scan_after(prefix, after, page(left));
        let asked = read(client.call(vec![command(&scan)]).await?)?;
        let kv::Output::Entries { entries, more } = asked.output else { return Ok(asked) };
        // A service that answers nothing and says that there is more would keep us for ever.
        let over = !more || entries.is_empty();
        found.extend(entries);
        if over || found.len() as u64 >= *limit {
            let output = kv::Output::Entries { entries: found, more };
            return Ok(Asked { output, answer: asked.answer });
        }
    }
}

/// Hands a command over now; it may travel with others. What is too large for a request that
/// several share is asked again alone, if it only reads.
pub(super) fn hand_over(
    client: &Client,
    what: &Ask,
) -> impl Future<Output = Result<Asked, CallError>> + use<> {
    let first = client.submit(vec![command(&what.command())], true);
    let (client, what) = (client.clone(), what.clone());
    async move {
        match first.await {
            Err(CallError::Refused { why: Refusal::OutputTooLarge, .. })
                if what.command().is_read_only() =>
            {
                ask(&client, &what).await
            }
            other => read(other?),
        }
    }
}

pub(super) fn command(command: &kv::Command<'_>) -> Command {
    let kind = match command.is_read_only() {
        true => CommandKind::Query,
        false => CommandKind::Execute,
    };
    Command { kind, bytes: command.encode().into() }
}

pub(super) fn read(answer: Answer) -> Result<Asked, CallError> {
    let output = answer.outputs.first().map(kv::Output::parse);
    match output {
        Some(Ok(output)) => Ok(Asked { output, answer }),
        _ => Err(CallError::Unreadable { explanation: answer.explanation }),
    }
}
