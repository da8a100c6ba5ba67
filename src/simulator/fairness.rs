//! Order fairness: who came clearly first everywhere is executed first (`docs/protocol.md`, §1).

use super::check::{Checked, Checks, Violation};
use crate::types::Digest;

/// If every good replica had r before any good one had r', by more than `margin` nanoseconds
/// (what their clocks disagree by), r is executed before r'.
///
/// # Errors
/// The two requests that stand the wrong way round.
pub fn fairness(checks: &Checks, margin: u64) -> Checked {
    // The executed request that came latest so far, by its first arrival at any good replica.
    let mut latest: Option<(u64, Digest)> = None;
    for entry in checks.executions() {
        let Some((first, last)) = span(checks, &entry.digest) else { continue };
        if let (Some((came, other)), Some(last)) = (latest, last)
            && last.saturating_add(margin) < came
        {
            let what = format!(
                "{} ({}) was everywhere {} ns after the start, {other} nowhere before {came} ns, \
                 and yet is executed after it",
                entry.request, entry.digest, last
            );
            return Err(Violation { rule: "fairness", what });
        }
        if latest.is_none_or(|(came, _)| first > came) {
            latest = Some((first, entry.digest));
        }
    }
    Ok(())
}

// When the first good replica had it, and when the last had, if all had.
fn span(checks: &Checks, digest: &Digest) -> Option<(u64, Option<u64>)> {
    let receipts = checks.receipts().get(digest)?;
    let times: Vec<u64> = checks.good().iter().filter_map(|r| receipts.get(&r).copied()).collect();
    let all = times.len() == checks.good().len();
    let first = *times.iter().min()?;
    Some((first, times.iter().max().copied().filter(|_| all)))
}
