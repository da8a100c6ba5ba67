//! Clusters of replica processes on loopback.

use quorate::files::init::{InitOptions, NewCluster, write_cluster};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

/// A cluster whose replicas run until they are stopped or this is dropped.
pub struct Running {
    pub dir: TempDir,
    pub made: NewCluster,
    processes: Vec<Option<Child>>,
}

/// What a command of a user's gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Running {
    /// Three replicas; the last ones tell these lies.
    pub fn start(lies: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions {
            base_port: free_ports(),
            allow_liars: !lies.is_empty(),
            ..InitOptions::new(dir.path())
        };
        let made = write_cluster(&options).unwrap();
        let n = made.cluster.replicas.len();
        let mut running = Self { dir, made, processes: Vec::new() };
        for i in 0..n {
            let lie = (i + lies.len()).checked_sub(n).map(|place| lies[place]);
            let child = running.replica(i, lie);
            running.processes.push(Some(child));
        }
        running
    }

    fn replica(&self, index: usize, lie: Option<&str>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["replica", "--stop-with-stdin", "--config"]).arg(&self.made.config_file);
        command.args(["--id", &(index + 1).to_string()]);
        command.args(lie.into_iter().flat_map(|lie| ["--lie", lie]));
        // Its standard input ends with this process, however that ends.
        let log = std::fs::File::create(self.dir.path().join(format!("log-{index}"))).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Kills one.
    pub fn kill(&mut self, index: usize) {
        let mut child = self.processes[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs a subcommand with the cluster file and the first client's key.
    pub fn run(&self, subcommand: &str, args: &[&str]) -> Ran {
        self.run_with(subcommand, &self.made.config_file, &self.made.client_keys[0], args, b"")
    }

    pub fn run_with(
        &self,
        subcommand: &str,
        config: &Path,
        key: &Path,
        args: &[&str],
        input: &[u8],
    ) -> Ran {
        use std::io::Write as _;
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
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A base port above which the ports of a cluster of three are free. Tests of one process never
/// get the same.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = 20_000 + (std::process::id() as u16 % 40).wrapping_mul(200) + step * 8 % 96;
        let udp = |i| UdpSocket::bind(("127.0.0.1", base + i)).is_ok();
        let tcp = |i| TcpListener::bind(("127.0.0.1", base + 100 + i)).is_ok();
        if (1..=3).all(|i| udp(i) && tcp(i)) {
            return base;
        }
    }
}
