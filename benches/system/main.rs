//! `make bench`: whole clusters under load, as tables and plots in `docs/performance.md`.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `sections/` | what is measured |
//! | `lab.rs` | what all sections share |
//! | `cluster.rs`, `load.rs` | the processes: replicas, `quorate bench` |
//! | `report.rs`, `stats.rs`, `plot.rs`, `splice.rs` | tables and goals, medians, SVG, the document |
//! | `machine.rs` | what it was measured on |

mod cluster;
mod lab;
mod load;
mod machine;
mod plot;
mod report;
mod sections;
mod splice;
mod stats;

use anyhow::{Context, bail};
use clap::Parser;
use lab::Lab;
use sections::Part;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long what others do is looked at before each section.
const LOOKED: Duration = Duration::from_secs(2);
/// Figures that were made with more than this of the processors in use already are provisional.
const BUSY: f64 = 0.1;

/// Measure whole clusters, and write what comes of it into the document
#[derive(Parser)]
struct Arguments {
    /// The binary that is measured
    #[arg(long, env = "QUORATE", default_value = "target/release/quorate")]
    quorate: PathBuf,
    /// Only these sections, by name with commas; a wrong name lists all
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each thing is measured, in turns with what it is compared with
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Only to see that it works: one round of a second each, small sizes; prints, and writes
    /// nothing if --docs is not given
    #[arg(long)]
    quick: bool,
    /// Ten million keys and requests, too: needs some ten GiB of memory and half an hour
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// The document whose sections are replaced; plots go to plots/ beside it
    #[arg(long)]
    docs: Option<PathBuf>,
    /// The first port; this and the next 200 must be free on loopback
    #[arg(long, default_value_t = 7800,
        value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let parts = chosen(&arguments.only)?;
    let quorate = arguments.quorate.canonicalize().with_context(|| {
        let path = arguments.quorate.display();
        format!("there is no {path}; build it with `cargo build --release`, or set QUORATE")
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    // Removed at the end, also after an error or a signal.
    let scratch = tempfile::Builder::new().prefix("quorate-bench-").tempdir()?;
    let mut lab = Lab::new(quorate, scratch.path().to_owned(), arguments.port, stop);
    (lab.rounds, lab.seconds) = (arguments.rounds.into(), arguments.seconds);
    (lab.quick, lab.full) = (arguments.quick, arguments.full);
    if lab.quick {
        (lab.rounds, lab.seconds) = (1, 1);
    }
    let docs = match (&arguments.docs, lab.quick) {
        (Some(docs), _) => Some(docs.clone()),
        (None, true) => None,
        (None, false) => Some(PathBuf::from("docs/performance.md")),
    };
    if let Some(docs) = &docs {
        // Better now than after an hour.
        let text = fs::read_to_string(docs).with_context(|| docs.display().to_string())?;
        parts.iter().try_for_each(|part| splice::splice(&text, part.name, "").map(drop))?;
    }
    parts.iter().try_for_each(|part| measure(&lab, part, docs.as_deref()))
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static Part>> {
    let known = || sections::ALL.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    for name in only {
        if !sections::ALL.iter().any(|p| p.name == name) {
            bail!("there is no section {name}; there are: {}", known());
        }
    }
    let is_chosen = |p: &&Part| only.is_empty() || only.iter().any(|name| name == p.name);
    Ok(sections::ALL.iter().filter(is_chosen).collect())
}

fn measure(lab: &Lab, part: &Part, docs: Option<&Path>) -> anyhow::Result<()> {
    lab.check()?;
    eprintln!("== {} ({})", part.name, part.title);
    let others = machine::in_use(LOOKED);
    let began = Instant::now();
    let section = (part.run)(lab).with_context(|| format!("in the section {}", part.name))?;
    let text = format!(
        "### {}\n\n{}\n\n{}",
        part.title,
        head(lab, part, others, began.elapsed().as_secs()),
        section.to_markdown("plots")
    );
    let Some(docs) = docs else {
        println!("{text}\n");
        return Ok(());
    };
    // After each section, so that what was measured is there whatever comes after it.
    let before = fs::read_to_string(docs).with_context(|| docs.display().to_string())?;
    let directory = docs.with_file_name("plots");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for (name, plot) in &section.plots {
        let file = directory.join(format!("{name}.svg"));
        fs::write(&file, plot.to_svg()).with_context(|| file.display().to_string())?;
    }
    fs::write(docs, splice::splice(&before, part.name, &text)?)
        .with_context(|| docs.display().to_string())?;
    eprintln!("  written to {}", docs.display());
    Ok(())
}

/// Where, when and how it was measured.
fn head(lab: &Lab, part: &Part, others: f64, took: u64) -> String {
    let (rounds, seconds) = (lab.rounds, lab.seconds);
    let mut command = format!("make bench ONLY={}", part.name);
    let usual = [
        (rounds != 5 && !lab.quick, format!(" ROUNDS={rounds}")),
        (seconds != 4 && !lab.quick, format!(" SECONDS={seconds}")),
    ];
    usual.into_iter().filter(|(other, _)| *other).for_each(|(_, words)| command.push_str(&words));
    if lab.full || lab.quick {
        command.push_str(if lab.full { " MORE=--full" } else { " MORE=--quick" });
    }
    if let Some(binary) = unusual(&lab.quorate) {
        command.push_str(&format!(" QUORATE={binary}"));
    }
    let turns =
        if rounds == 1 { "one round".to_owned() } else { format!("{rounds} rounds in turns") };
    let mut text = format!(
        "{}; {}; {}; `{command}`, {turns}, {seconds} s each; medians, and lowest to \
         highest. Others took {:.0} % of the processors in the {} s before; this took {took} s.",
        machine::machine(),
        machine::commit(Path::new("."), &["docs/performance.md", "docs/plots/"]),
        machine::date(),
        100.0 * others,
        LOOKED.as_secs(),
    );
    if others > BUSY {
        text.push_str(
            " **The machine was busy with other things**: these figures are provisional.",
        );
    }
    if lab.quick {
        text.push_str(" **A quick run**, which only shows that it works.");
    }
    for remark in lab.take_remarks() {
        text.push_str(&format!("\n\nNote: {remark}."));
    }
    text
}

/// What to say of the binary if it is not that of `cargo build --release`.
fn unusual(binary: &Path) -> Option<String> {
    if binary.ends_with("release/quorate") {
        return None;
    }
    let profiled = Path::new("profiled/quorate");
    let said =
        if binary.ends_with(profiled) { Path::new("target").join(profiled) } else { binary.into() };
    Some(said.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_said_if_it_is_not_the_usual() {
        let said = |path: &str| unusual(Path::new(path));
        assert_eq!(said("/a/b/release/quorate"), None);
        assert_eq!(said("/a/profiled/quorate").unwrap(), "target/profiled/quorate");
        assert_eq!(said("/other/quorate").unwrap(), "/other/quorate");
    }

    #[test]
    fn sections_are_chosen_by_name_and_all_names_differ() {
        assert_eq!(chosen(&[]).unwrap().len(), sections::ALL.len());
        let two = chosen(&["liars".into(), "voting".into()]).unwrap();
        assert_eq!(two.iter().map(|p| p.name).collect::<Vec<_>>(), ["voting", "liars"]);
        assert!(chosen(&["nonsense".into()]).err().unwrap().to_string().contains("voting, alone"));
        for part in &sections::ALL {
            assert_eq!(sections::ALL.iter().filter(|p| p.name == part.name).count(), 1);
        }
    }

    #[test]
    fn the_document_has_a_place_for_each_section() {
        let document = include_str!("../../docs/performance.md");
        for part in &sections::ALL {
            splice::splice(document, part.name, "").unwrap();
        }
    }
}
