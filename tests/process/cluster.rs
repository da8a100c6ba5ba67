//! A cluster of real replica processes on loopback, for any process test.
//!
//! Replicas end with this process whatever happens to it: their standard input is a pipe from it,
//! and they stop when that closes. Logs lie in the cluster's directory, which is removed on drop;
//! a wait that runs out of patience prints their ends.

// Each test uses a part of it.
#![allow(dead_code)]

use quorate::config::ReplicaEntry;
use quorate::files::free_base_port;
use quorate::files::init::{InitOptions, write_cluster};
use quorate::types::ReplicaId;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Machines that build and test several things at once are slow.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

pub struct Cluster {
    directory: tempfile::TempDir,
    cluster: quorate::config::Cluster,
    config: PathBuf,
    program: PathBuf,
    // By number minus one; `None` while one is down.
    replicas: Vec<Option<Child>>,
}

/// What a command of a user's gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Cluster {
    /// `2t + 1` running replicas, all linked with each other, and keys of two clients.
    pub fn start(t: u8) -> Self {
        Self::start_with(|options| options.t = t, |_| Vec::new())
    }

    /// The same with options of its own (all but directory and ports) and more arguments for
    /// each replica, by its number.
    pub fn start_with(
        adjust: impl Fn(&mut InitOptions),
        arguments: impl Fn(u8) -> Vec<String>,
    ) -> Self {
        // Whatever else runs may take a port between looking and binding: then once more.
        for _ in 0..10 {
            let mut cluster = Self::make(&adjust);
            if cluster.launch_all(&arguments) {
                return cluster;
            }
        }
        panic!("ten times in a row a replica ended at its start: see the logs above");
    }

    /// Three running replicas, of which the last ones tell these lies.
    pub fn start_lying(lies: &[&str]) -> Self {
        let first = 3 - lies.len();
        Self::start_with(
            |options| options.allow_liars = !lies.is_empty(),
            |number| match (usize::from(number) - 1).checked_sub(first) {
                Some(place) => vec!["--lie".to_owned(), lies[place].to_owned()],
                None => Vec::new(),
            },
        )
    }

    /// A cluster on disk of which no replica runs yet.
    pub fn make(adjust: impl Fn(&mut InitOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = InitOptions::new(directory.path().join("cluster"));
        adjust(&mut options);
        options.base_port = free_base_port(2 * options.t + 1 + options.chain_replicas).unwrap();
        let new = write_cluster(&options).unwrap();
        let replicas = new.cluster.replicas.iter().map(|_| None).collect();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_quorate"));
        Self { directory, cluster: new.cluster, config: new.config_file, program, replicas }
    }

    /// Adds something to the cluster file, before a replica runs.
    pub fn add(&mut self, text: &str) {
        let file = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, file + text).unwrap();
        self.cluster = quorate::files::load_cluster(&self.config).unwrap();
    }

    /// Runs replicas by another program, which has their service.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Adds lines to the cluster file, before any replica runs.
    pub fn with_lines(mut self, lines: &str) -> Self {
        let mut file = OpenOptions::new().append(true).open(&self.config).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        self.cluster = quorate::files::load_cluster(&self.config).unwrap();
        self
    }

    /// Starts all replicas and waits for their links; false if one ended, as happens when a port
    /// was taken.
    pub fn launch_all(&mut self, arguments: impl Fn(u8) -> Vec<String>) -> bool {
        for number in 1..=self.n() {
            self.launch(number, &arguments(number));
        }
        self.wait_for_links()
    }

    /// What the cluster file says.
    pub fn cluster(&self) -> &quorate::config::Cluster {
        &self.cluster
    }

    /// The private key file of a replica.
    pub fn replica_key(&self, number: u8) -> PathBuf {
        self.config.with_file_name("keys").join(format!("replica-{number}.pem"))
    }

    /// Sends a replica a signal and waits for its end; gives its exit code. Its standard input
    /// stays open until then: it must not be what ends it.
    pub fn signal(&mut self, number: u8, signal: &str) -> Option<i32> {
        let mut child = self.take(number);
        let open = child.stdin.take();
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("R{number} does not end at {signal}\n{}", self.logs());
            }
            std::thread::sleep(POLL);
        };
        drop(open);
        status.code()
    }

    /// How many replicas it has.
    pub fn n(&self) -> u8 {
        u8::try_from(self.replicas.len()).unwrap()
    }

    /// The cluster file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The private key file of a client, from 1.
    pub fn client_key(&self, number: usize) -> PathBuf {
        self.config.with_file_name("keys").join(format!("client-{number}.pem"))
    }

    /// The private key file of the operator.
    pub fn operator_key(&self) -> PathBuf {
        self.config.with_file_name("keys").join("operator.pem")
    }

    /// Sends a replica a signal that does not end it.
    pub fn tell(&self, number: u8, signal: &str) {
        let id = self.process(number).to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn process(&self, number: u8) -> u32 {
        let child = self.replicas[usize::from(number) - 1].as_ref();
        child.unwrap_or_else(|| panic!("R{number} does not run")).id()
    }

    /// Bytes of memory that a replica has in use.
    pub fn memory(&self, number: u8) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process(number))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    }

    /// Starts a replica that is not running, with arguments besides those that every one has.
    pub fn launch(&mut self, number: u8, arguments: &[String]) {
        self.launch_with(number, &self.config.clone(), arguments);
    }

    /// The same with another cluster file.
    pub fn launch_with(&mut self, number: u8, config: &Path, arguments: &[String]) {
        let program = Command::new(&self.program);
        self.spawn(number, program, (config, arguments));
    }

    fn spawn(&mut self, number: u8, mut command: Command, (config, arguments): (&Path, &[String])) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_file(number)).unwrap();
        let slot = &mut self.replicas[usize::from(number) - 1];
        assert!(slot.is_none(), "R{number} runs already");
        command.arg("replica").arg("--config").arg(config);
        command.args(["--id", &number.to_string(), "--stop-with-stdin"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        *slot = Some(command.spawn().unwrap());
    }

    /// Starts one by a shell that says this before: how much it may use, for instance.
    pub fn launch_after(&mut self, said: &str, number: u8) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{said} && exec \"$0\" \"$@\"")).arg(&self.program);
        self.spawn(number, shell, (&self.config.clone(), &[]));
    }

    /// Whether a replica that was launched has ended by itself.
    pub fn has_ended(&mut self, number: u8) -> bool {
        let child = self.replicas[usize::from(number) - 1].as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Waits until a replica has ended by itself, and gives its exit code.
    pub fn ends(&mut self, number: u8) -> Option<i32> {
        let mut child = self.take(number);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("R{number} does not end\n{}", self.logs());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills a replica as a power cut would.
    pub fn kill(&mut self, number: u8) {
        let mut child = self.take(number);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops a replica as an operator would; gives whether it ended with success.
    pub fn stop(&mut self, number: u8) -> bool {
        let mut child = self.take(number);
        drop(child.stdin.take());
        child.wait().unwrap().success()
    }

    /// What a replica's admin address says, if it answers.
    pub fn status(&self, number: u8) -> Option<Value> {
        let body = get(self.cluster.replicas[usize::from(number) - 1].admin, "/status")?;
        serde_json::from_str(&body).ok()
    }

    /// Waits until something holds; fails with what was waited for and the ends of all logs.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited for {what}\n{}", self.logs());
            std::thread::sleep(POLL);
        }
    }

    /// Whether a replica is linked with all others.
    pub fn is_linked(&self, number: u8) -> bool {
        let own = ReplicaId::new(number).unwrap();
        let linked = |r: &&ReplicaEntry| r.id != own && self.cluster.are_linked(r.id, own);
        let others = self.cluster.replicas.iter().filter(linked).count();
        self.status(number).is_some_and(|s| {
            let links = s["links"].as_array().unwrap();
            links.len() == others && links.iter().all(|l| l["up"] == true)
        })
    }

    /// Runs the command line in the cluster's directory: exit code, output, errors.
    pub fn quorate(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        let run = command.args(arguments).current_dir(self.directory.path()).output();
        let Output { status, stdout, stderr } = run.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// Runs a subcommand with the cluster file and the first client's key.
    pub fn run(&self, subcommand: &str, args: &[&str]) -> Ran {
        self.run_with(subcommand, self.config(), &self.client_key(1), args, b"")
    }

    /// The same with another file, key and standard input.
    pub fn run_with(
        &self,
        subcommand: &str,
        config: &Path,
        key: &Path,
        args: &[&str],
        input: &[u8],
    ) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg(subcommand).arg("--config").arg(config).arg("--key").arg(key).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    /// Where the cluster lies, and tests may put files of their own.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What a replica has logged so far.
    pub fn log(&self, number: u8) -> String {
        let mut text = String::new();
        File::open(self.log_file(number)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until all replicas, which have been launched, are linked with each other; false if one
    /// ended, as happens when a port was taken.
    pub fn wait_for_links(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for child in self.replicas.iter_mut().flatten() {
                if child.try_wait().unwrap().is_some() {
                    eprintln!("{}", self.logs());
                    return false;
                }
            }
            if (1..=self.n()).all(|number| self.is_linked(number)) {
                return true;
            }
            assert!(Instant::now() < deadline, "waited for all links\n{}", self.logs());
            std::thread::sleep(POLL);
        }
    }

    fn take(&mut self, number: u8) -> Child {
        let child = self.replicas[usize::from(number) - 1].take();
        child.unwrap_or_else(|| panic!("R{number} does not run"))
    }

    fn log_file(&self, number: u8) -> PathBuf {
        self.directory.path().join(format!("replica-{number}.log"))
    }

    fn logs(&self) -> String {
        let mut out = String::new();
        for number in 1..=self.n() {
            let log = fs::read_to_string(self.log_file(number)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(20)..];
            out.push_str(&format!("--- the end of the log of R{number}\n{}\n", end.join("\n")));
        }
        out
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.replicas.iter_mut().flatten() {
            // It may have ended by itself, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What an admin address has at a path, if it answers with success.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}
