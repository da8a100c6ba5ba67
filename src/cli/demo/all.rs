//! `quorate demo --all`: one demonstration after the other, a line each.

use super::perform::Outcome;
use super::trick::{Expect, Trick};
use super::{Demo, Failure, output};
use crate::replica::Why;
use crate::types::ReplicaId;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn play(demo: &Demo) -> anyhow::Result<ExitCode> {
    output::print(&format!(
        "{} replicas, of which {} bad; {} requests each time, and more until the story is over\n\n\
         lie                  what happened                      still     out as     back after  \
         wrong answers\n",
        2 * usize::from(demo.t()) + 1,
        demo.t(),
        demo.requests
    ))?;
    let mut failed = Vec::new();
    for trick in Trick::all() {
        let (stage, outcome) = demo.perform_silently(trick).await?;
        output::print(&line(trick, stage.bad()[0], &outcome))?;
        if !outcome.problems.is_empty() {
            let (told, logs) = (outcome.problems.join("\n    "), stage.directory().display());
            failed.push(format!("{trick}:\n    {told}\n    logs: {logs}"));
        }
    }
    if !failed.is_empty() {
        let message = format!("these demonstrations failed:\n  {}", failed.join("\n  "));
        return Err(Failure { code: 1, message }.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of the first bad one.
fn line(trick: Trick, bad: ReplicaId, outcome: &Outcome) -> String {
    let what = match (outcome.problems.is_empty(), trick.expect()) {
        (false, _) => "FAILED, see below",
        (true, Expect::Dissent) => "outvoted in every answer",
        (true, Expect::Silence) => "nobody missed its answers",
        (true, Expect::Expelled) => "proven, and expelled for good",
        (true, Expect::Excluded) => "excluded whenever it is let in",
        (true, Expect::Away) => "excluded, and let in again",
        (true, Expect::Noticed(_)) => "noticed, and without effect",
        (true, Expect::Nothing) => "without effect",
    };
    let out = outcome.story.out(bad);
    let why = out.map_or("-", |(why, _)| match why {
        Why::Left => "left",
        Why::Restarted => "restarted",
        Why::Lied => "liar",
        Why::Silent => "silent",
    });
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    let away = out.zip(outcome.story.back(bad)).map(|((_, out), back)| back.saturating_sub(out));
    let back = away.map_or("-".to_owned(), seconds);
    let still = format!("{} ms", outcome.still.as_millis());
    let (name, wrong) = (trick.name(), outcome.wrong);
    format!("{name:<20} {what:<34} {still:<9} {why:<10} {back:<11} {wrong}\n")
}
