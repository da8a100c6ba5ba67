//! `quorate log repair`.

use super::{Found, Which, options, show};
use crate::cli::{Failure, USAGE, output};
use crate::daemon::{DataDirectory, RoundsDisk};
use crate::offline::{Donor, Keep, Left, Place, RepairError, Repaired, repair};
use crate::storage::{Lack, Overlay};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Repair {
    #[command(flatten)]
    which: Which,
    /// The data directory of another replica of the cluster, or a copy of one, which is only read;
    /// once for each
    #[arg(long, value_name = "DATA", required = true)]
    from: Vec<PathBuf>,
    /// Change nothing, and say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What was done, and what is there now.
struct Report {
    dry_run: bool,
    /// Where the log is.
    path: PathBuf,
    done: Repaired,
    /// What a look at everything says afterwards; `None` if nothing was changed on purpose.
    after: Option<Found>,
}

impl Report {
    fn is_good(&self) -> bool {
        self.done.is_whole() && self.after.as_ref().is_none_or(Found::is_sound)
    }
}

impl Repair {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let report = self.repair()?;
        match self.which.json {
            true => output::print_json(&as_json(&report))?,
            false => output::print(&as_text(&report))?,
        }
        Ok(ExitCode::from(u8::from(!report.is_good())))
    }

    fn repair(&self) -> anyhow::Result<Report> {
        // Before anything is looked at, so that nobody changes it meanwhile.
        let data = DataDirectory::look(&self.which.data)?;
        let claimed = (!self.dry_run).then(|| data.claim_rounds(None)).transpose()?;
        let (cluster, (data, mut files)) = self.which.open()?;
        let members = cluster.as_ref().map(|(c, _)| c.ensemble.n());
        let mut donors = Vec::new();
        for from in &self.from {
            donors.push(self.donor(&data, from, members)?);
        }
        let opened = options(files.owner, files.secret, files.limits);
        // In memory first: nothing on the disk is touched before it is known to help.
        let planned = repair(&mut files.disk, opened.clone(), &mut donors, &Keep::Nothing);
        let mut done = planned.map_err(|e| failed(&files.path, &e))?;
        let path = files.path;
        drop(files.disk);
        if let Some(mut own) = claimed {
            if done.mended() > 0 {
                let keep = Keep::All(done.files.clone());
                let repaired = repair(&mut own.disk, opened, &mut donors, &keep);
                done = repaired.map_err(|e| failed(&path, &e))?;
            }
            let after = Some(self.which.look(&mut |_| {})?);
            return Ok(Report { dry_run: false, path, done, after });
        }
        Ok(Report { dry_run: true, path, done, after: None })
    }

    fn donor(
        &self,
        data: &DataDirectory,
        from: &Path,
        members: Option<usize>,
    ) -> anyhow::Result<Donor<Overlay<RoundsDisk>>> {
        let other = DataDirectory::look(from)?;
        let usage = |message: String| Failure { code: USAGE, message };
        let same = |a: &Path, b: &Path| a.canonicalize().ok() == b.canonicalize().ok();
        let name = from.display().to_string();
        if same(data.path(), from) {
            let what = format!("{name} is the very directory that is to be repaired");
            return Err(usage(format!("{what}; give those of other replicas with --from")).into());
        }
        if other.mark().cluster != data.mark().cluster {
            let (its, ours) = (other.mark().cluster, data.mark().cluster);
            let message = format!("{name} is of cluster {its}, and --data is of cluster {ours}");
            return Err(usage(format!("{message}; give those of its own cluster")).into());
        }
        let files = other.rounds(members)?;
        let (disk, opened) = (files.disk, options(files.owner, files.secret, files.limits));
        Ok(Donor::open(name, disk, opened).map_err(|e| failed(&files.path, &e))?)
    }
}

fn failed(path: &Path, error: &RepairError) -> Failure {
    let message = match error {
        RepairError::Donor { .. } => format!("{error}; leave out what cannot be read"),
        _ => format!("{}: {error}", path.display()),
    };
    Failure { code: USAGE, message }
}

// Why a place is as it was, for people.
fn why(left: &Left) -> String {
    let lack = |(name, lack): &(String, Lack)| match lack {
        Lack::Others => format!("{name} has other entries there"),
        Lack::Damaged => format!("{name} is damaged there, too"),
        Lack::Absent => format!("{name} does not have that part"),
    };
    match left {
        Left::End => "it reaches the end of the log, so nothing says what was there, and nothing \
                      could be known to be right"
            .to_owned(),
        Left::Unanchored => "what is beside it is damaged, too, so nothing could be known to be \
                             right"
            .to_owned(),
        Left::TooMuch => "more is lost there than is looked for at one place".to_owned(),
        Left::Nowhere(lacks) => lacks.iter().map(lack).collect::<Vec<_>>().join("; "),
        Left::Refused(error) => error.to_string(),
    }
}

fn entries(place: &Place) -> String {
    match place.loss.count() {
        Some(0) => "nothing was lost".to_owned(),
        Some(1) => "1 entry".to_owned(),
        Some(n) => format!("{n} entries"),
        None => "an unknown number of entries".to_owned(),
    }
}

fn as_text(report: &Report) -> String {
    let mut out = String::new();
    let mut put = |name: &str, value: String| {
        writeln!(out, "{name:<18} {value}").expect("a string takes all that is written");
    };
    for place in &report.done.places {
        for damage in &place.loss.damages {
            put("damaged", damage.to_string());
        }
        let from = |from: &[String]| match from {
            [] => entries(place),
            from => format!("{} from {}", entries(place), from.join(" and ")),
        };
        match (&place.result, report.dry_run) {
            (Ok(names), false) => put("repaired", from(names)),
            (Ok(names), true) => put("can be repaired", from(names)),
            (Err(left), _) => put("NOT REPAIRED", why(left)),
        }
    }
    if report.done.places.is_empty() {
        put("damaged", "nothing: there is nothing to repair".to_owned());
    }
    for kept in &report.done.kept {
        put("kept", report.path.join(kept).display().to_string());
    }
    if !report.done.is_whole() {
        let what = "give the directories of all other replicas, or copies of them, with --from; \
                    where t + 1 others have whole logs this replica takes their state by itself";
        put("left", what.to_owned());
    }
    match &report.after {
        Some(found) => out.push_str(&show::verdict(found)),
        None => put("verdict", "nothing was changed (--dry-run)".to_owned()),
    }
    out
}

fn as_json(report: &Report) -> Value {
    let places = report.done.places.iter().map(|place| {
        let damages = place.loss.damages.iter();
        let damages: Vec<Value> = damages.map(show::damage_json).collect();
        json!({
            "damages": damages,
            "first": place.loss.first.0,
            "next": place.loss.next.map(|next| next.0),
            "repaired": place.result.is_ok(),
            "from": place.result.as_ref().ok(),
            "why": place.result.as_ref().err().map(why),
        })
    });
    json!({
        "dry_run": report.dry_run,
        "good": report.is_good(),
        "places": places.collect::<Vec<_>>(),
        "repaired": report.done.mended(),
        "left": report.done.places.len() - report.done.mended(),
        "kept": report.done.kept,
        "after": report.after.as_ref().map(show::verdict_json),
    })
}
