//! `quorate demo --times N`: one demonstration again and again, to measure how long service stops.

use super::perform::Outcome;
use super::trick::Trick;
use super::{Demo, Failure, output};
use crate::replica::Why;
use crate::types::ReplicaId;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// What a stop may take beside patience and Δ, the delays of messages and the work included.
const SLACK: Duration = Duration::from_millis(100);

/// Shows it so often, each time with a new cluster, and prints how long nothing was answered.
///
/// # Errors
/// If a demonstration cannot be given or fails; the figures of all others are printed before.
pub(super) async fn play(demo: &Demo, times: u16) -> anyhow::Result<ExitCode> {
    let mut figures = Figures { trick: demo.lie, stops: Vec::new(), bound: None };
    let mut failed = Vec::new();
    if !demo.json {
        output::print(&title(demo, times))?;
    }
    for number in 1..=times {
        let (stage, outcome) = demo.perform_silently(demo.lie).await?;
        let timing = stage.cluster.timing;
        figures.bound = Some(Bound { patience: timing.patience, delta: timing.delta });
        if outcome.problems.is_empty() {
            figures.stops.push(outcome.still);
        } else {
            let (told, logs) = (outcome.problems.join("\n    "), stage.directory().display());
            failed.push(format!("number {number}:\n    {told}\n    logs: {logs}"));
        }
        if !demo.json {
            output::print(&line(number, stage.bad()[0], &outcome))?;
        }
    }
    match demo.json {
        true => output::print_json(&figures.json(&failed))?,
        false => output::print(&figures.text())?,
    }
    if !failed.is_empty() {
        let message = format!("these demonstrations failed:\n  {}", failed.join("\n  "));
        return Err(Failure { code: 1, message }.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn title(demo: &Demo, times: u16) -> String {
    let (n, t, lie) = (2 * usize::from(demo.t()) + 1, demo.t(), demo.lie);
    format!(
        "{times} times {n} replicas, of which {t} bad ({lie}); {} clients, each with one request \
         under way or more\n\n  number  still       out after   back after\n",
        demo.clients
    )
}

/// What became of the first bad one.
fn line(number: u16, bad: ReplicaId, outcome: &Outcome) -> String {
    let (out, back) = (outcome.story.out(bad), outcome.story.back(bad));
    let since = outcome.story.fell(bad).unwrap_or_default();
    let of = |d: Option<Duration>| d.map_or("-".to_owned(), |d| ms(d.saturating_sub(since)));
    let (still, out_after) = (ms(outcome.still), of(out.map(|(_, at)| at)));
    let why = out.filter(|(why, _)| *why != Why::Silent).map_or("", |_| "   not for silence");
    let failed = if outcome.problems.is_empty() { "" } else { "   FAILED, see below" };
    let line = format!("  {number:>6}  {still:<10}  {out_after:<10}  {:<10}", of(back));
    format!("{}{why}{failed}\n", line.trim_end())
}

/// What a stop is compared with.
struct Bound {
    patience: Duration,
    delta: Duration,
}

impl Bound {
    fn sum(&self) -> Duration {
        self.patience.saturating_add(self.delta).saturating_add(SLACK)
    }
}

/// The median; of an even number the mean of the two in the middle.
pub(super) fn median(stops: &[Duration]) -> Option<Duration> {
    let mut sorted = stops.to_vec();
    sorted.sort_unstable();
    let half = sorted.len() / 2;
    let high = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { high } else { (sorted[half - 1] + high) / 2 })
}

struct Figures {
    trick: Trick,
    /// The longest time without an answer of each demonstration that went well.
    stops: Vec<Duration>,
    bound: Option<Bound>,
}

impl Figures {
    fn median(&self) -> Option<Duration> {
        median(&self.stops)
    }

    fn within(&self) -> usize {
        let bound = self.bound.as_ref().map(Bound::sum).unwrap_or_default();
        self.stops.iter().filter(|stop| **stop <= bound).count()
    }

    fn text(&self) -> String {
        let stops = self.stops.iter();
        let (Some(median), Some(min), Some(max), Some(bound)) =
            (self.median(), stops.clone().min(), stops.max(), &self.bound)
        else {
            return String::new();
        };
        format!(
            "\nThe longest time without any answer: median {}, from {} to {}.\n\
             patience {} + delta {} + {} = {}; {} of {} were within that.\n",
            ms(median),
            ms(*min),
            ms(*max),
            ms(bound.patience),
            ms(bound.delta),
            ms(SLACK),
            ms(bound.sum()),
            self.within(),
            self.stops.len()
        )
    }

    fn json(&self, failed: &[String]) -> Value {
        let number = |d: Duration| json!(d.as_micros() as f64 / 1e3);
        let maybe = |d: Option<Duration>| d.map_or(Value::Null, number);
        json!({
            "lie": self.trick.name(),
            "times": self.stops.len() + failed.len(),
            "still_ms": self.stops.iter().map(|d| number(*d)).collect::<Vec<_>>(),
            "median_ms": maybe(self.median()),
            "min_ms": maybe(self.stops.iter().min().copied()),
            "max_ms": maybe(self.stops.iter().max().copied()),
            "patience_ms": maybe(self.bound.as_ref().map(|b| b.patience)),
            "delta_ms": maybe(self.bound.as_ref().map(|b| b.delta)),
            "bound_ms": maybe(self.bound.as_ref().map(Bound::sum)),
            "within": self.within(),
            "failed": failed,
        })
    }
}

fn ms(d: Duration) -> String {
    format!("{} ms", d.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(stops: &[u64]) -> Figures {
        let millis = Duration::from_millis;
        let bound = Some(Bound { patience: millis(510), delta: millis(100) });
        let stops = stops.iter().map(|n| millis(*n)).collect();
        Figures { trick: Trick::Crash, stops, bound }
    }

    #[test]
    fn figures_are_what_their_names_say() {
        let odd = figures(&[700, 640, 711]);
        let text = odd.text();
        assert!(text.contains("median 700 ms, from 640 ms to 711 ms."), "{text}");
        assert!(text.contains("+ 100 ms = 710 ms; 2 of 3 were within that."), "{text}");
        let json = figures(&[640, 700, 710, 720]).json(&["number 5".to_owned()]);
        assert_eq!((&json["median_ms"], &json["bound_ms"]), (&json!(705.0), &json!(710.0)));
        assert_eq!((&json["within"], &json["times"]), (&json!(3), &json!(5)));
        assert_eq!(json["still_ms"], json!([640.0, 700.0, 710.0, 720.0]));
    }

    #[test]
    fn without_any_figure_there_is_none() {
        assert_eq!(figures(&[]).text(), "");
        assert_eq!(figures(&[]).json(&[])["median_ms"], Value::Null);
    }
}
