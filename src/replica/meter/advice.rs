//! Which Δ would do, by what was measured.

use crate::replica::DelayRow;

/// Fewer measurements say nothing of what is seldom.
const ENOUGH: u64 = 200;
/// The default timers allow for no less (docs/protocol.md §1).
const LEAST: u64 = 1000;
/// What people write.
const READABLE: [u64; 9] = [10, 12, 15, 20, 25, 30, 40, 50, 80];

/// A Δ, microseconds, that leaves room above all that was measured: three times what 999 of 1000
/// did not exceed, and twice the longest. `None` before each other replica was measured often
/// enough, of those that were measured at all.
pub(super) fn would_do(rows: &[DelayRow]) -> Option<u64> {
    let measured = || rows.iter().filter(|row| row.replica.is_some() && row.count > 0);
    if measured().next().is_none() || measured().any(|row| row.count < ENOUGH) {
        return None;
    }
    let need = |row: &DelayRow| row.p999_us.saturating_mul(3).max(row.max_us.saturating_mul(2));
    rows.iter().map(need).max().map(|need| readable(need.max(LEAST)))
}

/// The next figure that is easily read.
fn readable(micros: u64) -> u64 {
    let mut unit = 1u64;
    while let Some(next) = unit.checked_mul(10) {
        let fits = READABLE.iter().filter_map(|r| r.checked_mul(unit)).find(|r| *r >= micros);
        if let Some(readable) = fits {
            return readable;
        }
        unit = next;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replica: Option<u8>, count: u64, p999_us: u64, max_us: u64) -> DelayRow {
        DelayRow { replica, count, p999_us, max_us, ..DelayRow::default() }
    }

    #[test]
    fn room_is_left_above_what_was_measured() {
        let peer = |p999, max| row(Some(2), 1000, p999, max);
        let cases = [
            (vec![], None),
            (vec![row(Some(2), 199, 5, 5)], None),
            (vec![peer(100, 100), row(Some(3), 10, 1, 1)], None),
            (vec![peer(100, 100)], Some(1000)),
            (vec![peer(1000, 1200), row(Some(3), 0, 0, 0)], Some(3000)),
            (vec![peer(1000, 2000)], Some(4000)),
            (vec![peer(1000, 41_000)], Some(100_000)),
            // What the replica itself is slow with counts, however seldom it was seen.
            (vec![peer(1000, 1000), row(None, 3, 70_000, 70_000)], Some(250_000)),
            (vec![peer(u64::MAX, u64::MAX)], Some(u64::MAX)),
        ];
        for (rows, expected) in cases {
            assert_eq!(would_do(&rows), expected, "{rows:?}");
        }
    }

    #[test]
    fn figures_are_readable() {
        let rows = [(1, 10), (11, 12), (51, 80), (81, 100), (100, 100), (101, 120), (7001, 8000)];
        for (micros, figure) in rows {
            assert_eq!(readable(micros), figure);
        }
    }
}
