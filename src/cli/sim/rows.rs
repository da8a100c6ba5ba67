//! The labels of `docs/testing.md`, and what of each happens in the modes of `quorate sim`.

use super::coverage::Coverage;
use std::fmt::Write as _;

/// A label, and the names of faults, lies, events and cells that are it. Labels without any have
/// tests of their own, or cannot arise; the page says which.
const ROWS: [(&str, &[&str]); 88] = [
    ("B1", &["equivocate"]),
    ("B2", &[]),
    ("B3", &["half-send", "selective"]),
    ("B4", &[]),
    ("B5", &["withhold"]),
    ("B6", &["silent-proposals"]),
    ("B7", &["delay just below the bound", "delay just above the bound", "selective"]),
    ("B8", &["slow-drip"]),
    ("B9", &["clock-huge", "always-lowest", "low-fakes"]),
    ("B10", &["always-lowest", "favour"]),
    ("B11", &[]),
    ("B12", &["wrong-choice", "invalid-candidates", "falling-candidates"]),
    ("B13", &[]),
    ("B14", &[]),
    ("B15", &["forge"]),
    ("B16", &["false-blame", "forge"]),
    ("B17", &["false-blame", "flood"]),
    ("B18", &["wrong-output", "corrupt-digest", "random"]),
    ("B19", &["wrong-output"]),
    ("B20", &["stale-reply"]),
    ("B21", &[]),
    ("B22", &[]),
    ("B23", &[]),
    ("B24", &[]),
    ("B25", &["malformed frame"]),
    ("B26", &[]),
    ("B27", &[]),
    ("B28", &[]),
    ("B29", &[]),
    ("B30", &[]),
    ("B31", &["clock-early", "clock-late", "clock-huge"]),
    ("B32", &[]),
    ("B33", &[]),
    ("B34", &[]),
    ("B35", &["client: collude", "client: collude-and-one", "client: collude-late"]),
    ("B36", &[]),
    ("B37", &["flood"]),
    ("B38", &[]),
    ("B39", &["crash laid at a sync"]),
    ("B40", &["C4 too many liars"]),
    ("B41", &[]),
    ("K1", &["client: equivocate"]),
    ("K2", &["client: reuse-numbers"]),
    ("K3", &["client: wild-numbers"]),
    ("K4", &["client: one-replica", "client: some-replicas"]),
    ("K5", &[]),
    ("K6", &["client: flood"]),
    ("K7", &["client: oversize"]),
    ("K8", &["client: nonsense-bodies", "client: garbage-frames"]),
    ("K9", &["client: large-outputs"]),
    ("K10", &[]),
    ("K11", &["client: session-storm"]),
    ("K12", &["client: replay"]),
    ("K13", &["client: impersonate"]),
    ("K14", &[]),
    ("K15", &[]),
    ("K16", &["client: collude", "client: collude-and-one", "client: collude-late"]),
    ("K17", &["client: replay"]),
    ("K18", &[]),
    ("K19", &["client: writing-queries"]),
    ("K20", &["client: hard-keys"]),
    ("K21", &["client: withdraw"]),
    ("D1", &["node crashed", "crashed after a sync, untold", "crashed after acting on a sync"]),
    ("D2", &["unsynced record lost", "crashed before a sync"]),
    ("D3", &[]),
    ("D4", &["node paused"]),
    ("D5", &[]),
    ("D6", &[]),
    ("D7", &[]),
    ("D9", &[]),
    ("D11", &[]),
    ("D13", &["disk slowed"]),
    ("D14", &["wall clock stepped", "wall clock drifts"]),
    ("D15", &["monotonic clock drifts"]),
    ("D16", &[]),
    ("D17", &["power cut"]),
    ("D18", &[]),
    ("D20", &["link broken"]),
    ("D21", &[]),
    ("D22", &["node isolated"]),
    ("D23", &["direction cut", "direction cut until the link breaks"]),
    ("D24", &["frame dropped", "frame doubled", "frame reordered", "frame sent again"]),
    ("D25", &["delay just below the bound", "delay just above the bound", "link slowed"]),
    ("D26", &["link broken", "link slowed"]),
    ("D27", &["crash laid at a sync"]),
    ("D28", &[]),
    ("D29", &["blamed"]),
    ("D30", &[]),
];

/// How often each label has struck.
pub(super) fn text(coverage: &Coverage) -> String {
    let mut out = "how often what the labels of docs/testing.md name has happened:\n".to_owned();
    for (label, names) in ROWS {
        if names.is_empty() {
            let _ = writeln!(out, "  {label:<4} {:>10}  see its own tests", "-");
            continue;
        }
        let times = |name: &&str| coverage.times(name);
        let sum: u64 = names.iter().map(times).sum();
        let of: Vec<String> = names.iter().map(|n| format!("{n} {}", times(n))).collect();
        let _ = writeln!(out, "  {label:<4} {sum:>10}  {}", of.join(", "));
    }
    out
}

/// Labels that the modes should have brought and have not.
pub(super) fn never(coverage: &Coverage) -> Vec<&'static str> {
    let silent = |names: &[&str]| names.iter().any(|name| coverage.times(name) == 0);
    let empty = ROWS.iter().filter(|(_, names)| silent(names));
    empty.map(|(label, _)| *label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adversary::Lie;
    use crate::simulator::{Cell, ClientLie, KINDS};
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../docs/testing.md");

    /// A name that nothing has would count nothing for ever.
    #[test]
    fn what_rows_name_there_is() {
        let lies = Lie::all().map(Lie::name).chain(ClientLie::ALL.map(ClientLie::name));
        let cells = Cell::ALL.iter().map(|cell| cell.name());
        let known: BTreeSet<&str> = lies.chain(cells).chain(KINDS).chain(["blamed"]).collect();
        for (label, names) in ROWS {
            for name in names {
                assert!(known.contains(name), "{label} counts {name:?}, which nothing is called");
            }
        }
    }

    #[test]
    fn each_label_of_the_page_is_a_row_and_no_other() {
        // The table of the fail-stop chain behind has labels of its own.
        let (page, _) = PAGE.split_once("### The same for a fail-stop chain").unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
        let is_label = |word: &&str| {
            let (kind, number) = word.split_at_checked(1).unwrap_or_default();
            "BKD".contains(kind) && !number.is_empty() && number.parse::<u8>().is_ok()
        };
        let on_page: BTreeSet<&str> = rows.filter(is_label).collect();
        let here: BTreeSet<&str> = ROWS.iter().map(|(label, _)| *label).collect();
        assert_eq!(here, on_page);
    }
}
