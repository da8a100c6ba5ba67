//! The tables, in Markdown.

use crate::compare::Outstanding;
use crate::stats::{Spread, ratios};
use crate::systems::{PAIRS, Storage, System};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What one run measured.
pub struct Measured {
    /// Disk or memory.
    pub storage: Storage,
    /// How much was outstanding.
    pub load: Outstanding,
    /// Of which system.
    pub system: System,
    /// In which round.
    pub round: u32,
    /// Commands answered in a second.
    pub commands_per_second: f64,
    /// Processor time of all processes for each command, in microseconds.
    pub cpu_us: Option<f64>,
    /// The client's part of it.
    pub client_cpu_us: Option<f64>,
    /// Half of the requests took no longer, in microseconds.
    pub p50_us: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_us: Option<f64>,
    /// Requests that failed.
    pub errors: u64,
}

/// A column: its title, how a value is shown, and where it is found.
type Column = (&'static str, fn(f64) -> String, fn(&Measured) -> Option<f64>);

const COLUMNS: [Column; 5] = [
    ("commands/s", thousands, |m| Some(m.commands_per_second)),
    ("CPU µs/command", digits, |m| m.cpu_us),
    ("of it client", digits, |m| m.client_cpu_us),
    ("p50 ms", millis, |m| m.p50_us),
    ("p99 ms", millis, |m| m.p99_us),
];

/// What has to be known about the figures.
pub const NOTES: &str = "\
Median (lowest to highest). A ratio is that of two runs of one round. commands/s: higher is better;
CPU (all servers and the client, by schedstat; without the kernel's own threads) and latency (of a
request, so of 16 commands in the rows with -16): lower is better.

In favour of etcd and Redis:
- Quorate (voting) signs proposals, and its client believes what two of three replicas say: one may
  lie. The clients of the others believe one server, as that of Quorate's chain does.
- Quorate encrypts and authenticates all links, its clients' too (QUIC, TLS 1.3). etcd and Redis run
  over plain TCP without authentication.
- All connections to etcd go to its leader: nothing is forwarded.
- Redis has no agreement: without Sentinel nobody takes over, and then what WAIT acknowledged can be
  lost. WAIT promises that two replicas have it, not that they synced it (WAITAOF does, from Redis
  7.2 on); with appendfsync always Redis 7.0 does sync before it acknowledges.
- redis-grouped sends the requests of a client together, up to 64 SETs for one WAIT: the cheapest
  way to use Redis. etcd and Quorate are sent each request by itself.
- What Redis's forked children do (the copy for a new replica, a rewrite of the file) is not
  counted.

In favour of Quorate:
- Its client is its own. etcd's is tonic, Redis's was written for this. Each uses one thread.
- etcd keeps the old revisions of a key and serves watches and leases; nothing here asks for that.
- Redis waits for both replicas; etcd and Quorate for two of three. The chain has two members and
  waits for both: two copies where the others have three. Its third process is a spare.
- etcd in memory still writes and syncs its files, there. Redis and Quorate write nothing.
- The packages of a distribution are older than what etcd and Redis offer today.

In favour of nobody, and different from service: all processes share the processors and the disk of
one machine, no network is between them, every run begins empty and is short.";

/// What a storage is called.
pub fn title(storage: Storage) -> &'static str {
    match storage {
        Storage::Disk => "on the disk",
        Storage::Memory => "in memory",
    }
}

/// The tables of one storage and load: the systems, and Quorate beside the others.
pub fn render(
    storage: Storage,
    load: Outstanding,
    systems: &[System],
    measured: &[&Measured],
) -> String {
    let mut out = String::new();
    let Outstanding { clients, outstanding } = load;
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    line(format!("### {clients} x {outstanding}, {}\n", title(storage)));
    let titles: Vec<&str> = COLUMNS.iter().map(|(title, _, _)| *title).collect();
    line(format!("| | {} | runs, failed requests |", titles.join(" | ")));
    line(format!("| --- | {}", "--- | ".repeat(COLUMNS.len() + 1)).trim_end().to_owned());
    for system in systems {
        let own: Vec<&&Measured> = measured.iter().filter(|m| m.system == *system).collect();
        let cells = COLUMNS
            .iter()
            .map(|(_, show, value)| cell(Spread::of(own.iter().filter_map(|m| value(m))), *show));
        let errors: u64 = own.iter().map(|m| m.errors).sum();
        let cells = cells.collect::<Vec<_>>().join(" | ");
        line(format!("| {} | {cells} | {}, {errors} |", system.name(), own.len()));
    }
    let chosen = |s: &System| systems.contains(s);
    let pairs = PAIRS.iter().filter(|(a, b)| chosen(a) && chosen(b));
    let rows: Vec<String> = pairs.map(|(a, b)| row_of_ratios(*a, *b, measured)).collect();
    if !rows.is_empty() {
        let compared = COLUMNS.iter().filter(|column| !column.0.starts_with("of it"));
        let titles: Vec<&str> = compared.map(|column| column.0).collect();
        line(format!("\n| ratio of each round | {} |", titles.join(" | ")));
        line(format!("| --- | {}", "--- | ".repeat(titles.len())).trim_end().to_owned());
        rows.into_iter().for_each(&mut line);
    }
    line(String::new());
    out
}

fn row_of_ratios(above: System, below: System, measured: &[&Measured]) -> String {
    let compared = COLUMNS.iter().filter(|column| !column.0.starts_with("of it"));
    let cells = compared.map(|(_, _, value)| {
        let of = |system: System| -> BTreeMap<u32, f64> {
            let own = measured.iter().filter(|m| m.system == system);
            own.filter_map(|m| Some((m.round, value(m)?))).collect()
        };
        cell(Spread::of(ratios(&of(above), &of(below))), |ratio| format!("{ratio:.2}"))
    });
    let cells = cells.collect::<Vec<_>>().join(" | ");
    format!("| {} / {} | {cells} |", above.name(), below.name())
}

fn cell(spread: Option<Spread>, show: fn(f64) -> String) -> String {
    match spread {
        None => "-".to_owned(),
        Some(s) if s.count == 1 => show(s.median),
        Some(s) => format!("{} ({} to {})", show(s.median), show(s.lowest), show(s.highest)),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn millis(micros: f64) -> String {
    digits(micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Outstanding = Outstanding { clients: 4, outstanding: 64 };

    fn measured(system: System, round: u32, speed: f64) -> Measured {
        Measured {
            storage: Storage::Disk,
            load: LOAD,
            system,
            round,
            commands_per_second: speed,
            cpu_us: Some(1e6 / speed),
            client_cpu_us: None,
            p50_us: Some(1500.0),
            p99_us: Some(12_345.0),
            errors: 1,
        }
    }

    #[test]
    fn a_table_has_medians_and_ratios_of_rounds() {
        let all = [
            measured(System::Etcd, 1, 10_000.0),
            measured(System::Quorate, 1, 30_000.0),
            measured(System::Etcd, 2, 20_000.0),
            measured(System::Quorate, 2, 20_000.0),
            measured(System::Etcd, 3, 12_500.0),
        ];
        let all: Vec<&Measured> = all.iter().collect();
        let systems = [System::Etcd, System::Quorate, System::Redis];
        let text = render(Storage::Disk, LOAD, &systems, &all);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "### 4 x 64, on the disk");
        let etcd = "| etcd | 12,500 (10,000 to 20,000) | 80.0 (50.0 to 100) | - | \
            1.50 (1.50 to 1.50) | 12.3 (12.3 to 12.3) | 3, 3 |";
        assert_eq!(lines[4], etcd);
        assert_eq!(lines[6], "| redis | - | - | - | - | - | 0, 0 |");
        let ratio = "| quorate / etcd | 2.00 (1.00 to 3.00) | 0.67 (0.33 to 1.00) | \
            1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |";
        assert_eq!(lines[10], ratio);
        assert_eq!(lines[11], "| quorate / redis | - | - | - | - |");
        let bars = |line: &str| line.matches('|').count();
        assert!(lines[2..7].iter().all(|l| bars(l) == bars(lines[2])), "{text}");
        assert!(lines[8..12].iter().all(|l| bars(l) == bars(lines[8])), "{text}");
    }

    #[test]
    fn numbers_are_for_people() {
        let shown: Vec<String> = [7.0, 999.6, 1_000.0, 1_234_567.0].map(thousands).into();
        assert_eq!(shown, ["7", "1,000", "1,000", "1,234,567"]);
        assert_eq!([0.5, 12.34, 123.4].map(digits), ["0.50", "12.3", "123"]);
        assert_eq!(millis(870.4), "0.87");
    }
}
