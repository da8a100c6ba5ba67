//! Durations as people write them: `250us`, `100ms`, `2s`, `1m`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000)];

/// The longest duration that a configuration may name.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a whole number with one of the units us, ms, s and m; at most [`MAX_DURATION`].
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let units = "a duration is a whole number with one of the units us, ms, s, m: 250us, 100ms, 2s";
    let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("{text:?} is no duration ({units})"));
    };
    if number.is_empty() {
        return Err(format!("{text:?} is no duration ({units})"));
    }
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*micros));
    total
        .map(Duration::from_micros)
        .filter(|d| *d <= MAX_DURATION)
        .ok_or_else(|| format!("{text:?} is longer than a day"))
}

/// Writes a duration in the largest unit that keeps it whole; parts of a microsecond are dropped.
pub fn show_duration(d: Duration) -> String {
    let micros = d.as_micros();
    let fits = |unit: &&(&str, u64)| micros != 0 && micros.is_multiple_of(u128::from(unit.1));
    let (name, size) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[1]);
    format!("{}{name}", micros / u128::from(*size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back() {
        for text in ["250us", "100ms", "2s", "1m", "1001us", "0ms", "1440m"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn bad_durations_are_refused() {
        for text in [
            "",
            "ms",
            "100",
            "1.5s",
            "-1s",
            "1 s",
            "1S",
            "1h",
            "+1s",
            "99999999999999999999s",
            "18446744073709551615m",
            "1441m",
            "١s",
            "s1",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
