//! `quorate bench` as a process, and what it says.

use crate::cluster::{Cluster, tail};
use crate::lab::Lab;
use anyhow::{Context, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a run may take besides its warm-up and its seconds: links, preloading, last answers.
const SLACK: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    pub clients: u32,
    pub outstanding: u32,
    /// Of the run; those of the lab if 0.
    pub seconds: u64,
    pub warmup: u64,
    /// Besides.
    pub more: Vec<String>,
}

impl Load {
    /// So many sessions, each with so many requests outstanding.
    pub fn new(clients: u32, outstanding: u32) -> Self {
        Self { clients, outstanding, seconds: 0, warmup: 1, more: Vec::new() }
    }

    /// With more arguments, as one writes them.
    #[must_use]
    pub fn with(mut self, arguments: &str) -> Self {
        self.more.extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    /// For so long.
    #[must_use]
    pub fn seconds(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// `4 × 64`
    pub fn name(&self) -> String {
        format!("{} × {}", self.clients, self.outstanding)
    }

    fn arguments(&self, lab: &Lab) -> Vec<String> {
        let seconds = if self.seconds == 0 { lab.seconds } else { self.seconds };
        let numbers = [
            ("--clients", self.clients.to_string()),
            ("--outstanding", self.outstanding.to_string()),
            ("--seconds", seconds.to_string()),
            ("--warmup", self.warmup.to_string()),
        ];
        let mut all: Vec<String> =
            numbers.into_iter().flat_map(|(k, v)| [k.to_owned(), v]).collect();
        all.extend(["--timeout".to_owned(), "60s".to_owned()]);
        all.extend(self.more.iter().cloned());
        all
    }

    /// Runs it and waits for its end.
    ///
    /// # Errors
    /// If it fails or takes too long.
    pub fn run(&self, lab: &Lab, cluster: &Cluster) -> anyhow::Result<Outcome> {
        self.start(lab, cluster)?.finish(lab, &mut |_| Ok(()))
    }

    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, lab: &Lab, cluster: &Cluster) -> anyhow::Result<Running> {
        let (out, errors) =
            (cluster.directory.join("bench.json"), cluster.directory.join("bench.log"));
        // A thousand sessions need as many sockets.
        let raise = "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", raise]).arg(&lab.quorate).args(["bench", "--json", "--config"]);
        command.arg(cluster.config()).arg("--key").arg(cluster.key()).args(self.arguments(lab));
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&errors)?);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let seconds = if self.seconds == 0 { lab.seconds } else { self.seconds };
        let most = Duration::from_secs(seconds + self.warmup) + SLACK;
        let words = self.arguments(lab).join(" ");
        Ok(Running { child, out, errors, started: Instant::now(), most, words })
    }
}

/// A run under way. Dropping it ends it.
pub struct Running {
    child: Child,
    out: PathBuf,
    errors: PathBuf,
    started: Instant,
    most: Duration,
    words: String,
}

impl Running {
    /// Waits for its end; meanwhile `look` is called again and again with the time since the start.
    ///
    /// # Errors
    /// As [`Load::run`]; what `look` says.
    pub fn finish(
        mut self,
        lab: &Lab,
        look: &mut dyn FnMut(Duration) -> anyhow::Result<()>,
    ) -> anyhow::Result<Outcome> {
        while self.child.try_wait()?.is_none() {
            lab.check()?;
            if self.started.elapsed() > self.most {
                bail!("quorate bench {} has not ended after {:?}", self.words, self.most);
            }
            look(self.started.elapsed())?;
            std::thread::sleep(POLL);
        }
        let text = fs::read_to_string(&self.out)?;
        let Ok(json) = serde_json::from_str(&text) else {
            bail!("quorate bench {} failed:\n{}", self.words, tail(&self.errors));
        };
        let outcome = Outcome(json);
        if outcome.number("/ops") == Some(0.0) {
            lab.remark(format!("`{}` got no answer in the time that counts", self.words));
        }
        if let Some(failed) = outcome.number("/errors/total").filter(|n| *n > 0.0) {
            let why = outcome.0["errors"]["first"].as_str().unwrap_or("for unknown reasons");
            lab.remark(format!("{failed:.0} requests of `{}` failed: {why}", self.words));
        }
        eprintln!("  {}: {}", self.words, outcome.words());
        Ok(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended just now, which is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a run found out.
#[derive(Clone, Debug)]
pub struct Outcome(Value);

impl Outcome {
    /// The figure at this JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<f64> {
        self.0.pointer(pointer)?.as_f64()
    }

    fn or_nan(&self, pointer: &str) -> f64 {
        self.number(pointer).unwrap_or(f64::NAN)
    }

    /// Requests answered in a second.
    pub fn rate(&self) -> f64 {
        self.or_nan("/ops_per_second")
    }

    /// Requests answered.
    pub fn ops(&self) -> f64 {
        self.or_nan("/ops")
    }

    /// Latency in milliseconds: of the median request, or `p99`.
    pub fn latency(&self, rank: &str) -> f64 {
        self.or_nan(&format!("/latency_us/{rank}")) / 1000.0
    }

    /// Processor time of the client and all replicas for each request, in microseconds.
    pub fn cpu(&self) -> f64 {
        self.or_nan("/cpu_us_per_op")
    }

    /// That of the client.
    pub fn client_cpu(&self) -> f64 {
        self.or_nan("/client_cpu_us_per_op")
    }

    /// That of a replica on average.
    pub fn replica_cpu(&self) -> f64 {
        let replicas = self.0["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let all = replicas.iter().map(|r| r["cpu_us_per_op"].as_f64().unwrap_or(f64::NAN));
        all.sum::<f64>() / replicas.len() as f64
    }

    fn words(&self) -> String {
        let (rate, cpu, p50, p99) =
            (self.rate(), self.cpu(), self.latency("p50"), self.latency("p99"));
        format!(
            "{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms, {cpu:.1} us of processor time an op"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_with_their_units() {
        let json = r#"{"ops": 400, "ops_per_second": 100.0, "cpu_us_per_op": 30.0,
            "latency_us": {"p50": 1500.0, "p99": null}, "client_cpu_us_per_op": 6.0,
            "replicas": [{"cpu_us_per_op": 10.0}, {"cpu_us_per_op": 14.0}]}"#;
        let outcome = Outcome(serde_json::from_str(json).unwrap());
        assert_eq!((outcome.rate(), outcome.ops(), outcome.cpu()), (100.0, 400.0, 30.0));
        assert_eq!((outcome.latency("p50"), outcome.client_cpu()), (1.5, 6.0));
        assert_eq!(outcome.replica_cpu(), 12.0);
        assert!(outcome.latency("p99").is_nan(), "nothing is not 0");
    }
}
