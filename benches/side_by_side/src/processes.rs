//! Directories, ports and processes. What was started here is ended here, by its handle.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// A system uses so many ports, and as many from [`SECOND`] above them on.
const PORTS: u16 = 10;
/// Where Quorate's admin addresses are.
const SECOND: u16 = 100;
/// Blocks of ports that are used in turn.
const BLOCKS: u16 = 10;

/// A directory that is removed with all that is in it.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// If it exists or cannot be made.
    pub fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("side-by-side-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}; remove it by hand", self.0.display());
        }
    }
}

/// Gives out blocks of ports on loopback.
pub struct Ports {
    base: u16,
    next: u16,
}

impl Ports {
    /// Blocks from this port on.
    ///
    /// # Errors
    /// If there is no room above it.
    pub fn new(base: u16) -> Result<Self> {
        match base.checked_add(SECOND + PORTS * BLOCKS) {
            Some(_) if base > 0 => Ok(Self { base, next: 0 }),
            _ => bail!("--port {base} leaves no room above it; write 1 to 65000"),
        }
    }

    /// The first port of the next block that nobody uses.
    ///
    /// # Errors
    /// If all are in use.
    pub fn block(&mut self) -> Result<u16> {
        for _ in 0..BLOCKS {
            let first = self.base + PORTS * self.next;
            self.next = (self.next + 1) % BLOCKS;
            if (first..first + PORTS).chain(first + SECOND..first + SECOND + PORTS).all(is_free) {
                return Ok(first);
            }
        }
        let last = self.base + SECOND + PORTS * BLOCKS;
        bail!("no free block of ports from {} to {last}; choose others with --port", self.base)
    }
}

fn is_free(port: u16) -> bool {
    let address = local(port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// A port of this machine's loopback.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The processes that run now.
#[derive(Default)]
pub struct Processes(Vec<Process>);

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// Starts a server whose output goes to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, name: &str, command: &mut Command, log: PathBuf) -> Result<()> {
        let output =
            File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let errors = output.try_clone()?;
        // In a process group of its own, a Ctrl-C on the terminal is for us alone.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        self.0.push(Process { name: name.to_owned(), child, log });
        Ok(())
    }

    /// The numbers of the servers.
    pub fn pids(&self) -> Vec<u32> {
        self.0.iter().filter_map(|p| p.child.id()).collect()
    }

    /// Waits until these addresses take connections.
    ///
    /// # Errors
    /// If one does not in time, or a server ends.
    pub async fn listen(&mut self, addresses: &[SocketAddr], within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        for address in addresses {
            // On loopback it is refused or taken at once.
            while TcpStream::connect(address).is_err() {
                self.all_run()?;
                if Instant::now() > deadline {
                    bail!("nobody listens on {address} after {within:?}{}", self.logs());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.all_run()
    }

    /// Whether none has ended.
    ///
    /// # Errors
    /// If one has, with the end of its log.
    pub fn all_run(&mut self) -> Result<()> {
        for process in &mut self.0 {
            if let Some(status) = process.child.try_wait()? {
                let (name, log) = (&process.name, tail(&process.log));
                bail!("{name} ended ({status}); the end of what it said:\n{log}");
            }
        }
        Ok(())
    }

    /// The ends of all logs, for an error.
    pub fn logs(&self) -> String {
        let log = |p: &Process| format!("\n{} said at the end:\n{}", p.name, tail(&p.log));
        self.0.iter().map(log).collect()
    }

    /// Ends all and waits until they are gone. Nothing of theirs is needed any more.
    pub async fn stop(&mut self) {
        for process in &mut self.0 {
            // One that has ended already cannot be killed.
            let _ = process.child.start_kill();
        }
        for mut process in self.0.drain(..) {
            let _ = process.child.wait().await;
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|l| format!("  {l}\n")).collect()
}

/// Runs a program to its end and gives what it prints. It is killed if nobody waits any more.
///
/// # Errors
/// If it cannot be started, does not end in time, or ends with a code above `highest`; with what it
/// said.
pub async fn output(command: &mut Command, highest: i32, within: Duration) -> Result<String> {
    let name = command.as_std().get_program().display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let ended = tokio::time::timeout(within, child.wait_with_output()).await;
    let output = ended.with_context(|| format!("{name} did not end in {within:?}"))??;
    if output.status.code().is_none_or(|code| code > highest) {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_a_port_in_use_is_passed_over() {
        // Ports that the system gives out itself, so that tests do not meet.
        let taken = TcpListener::bind(local(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut ports = Ports { base: port.min(60_000), next: 0 };
        if port < 60_000 {
            assert_ne!(ports.block().unwrap(), port);
        }
        assert!(!is_free(port));
        assert!(Ports::new(65_400).is_err() && Ports::new(0).is_err());
    }

    #[tokio::test]
    async fn a_server_that_ends_is_an_error_with_its_last_words() {
        let directory = std::env::temp_dir().join(format!("side-by-side-test-{}", line!()));
        fs::create_dir_all(&directory).unwrap();
        let mut processes = Processes::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        processes.start("it", &mut command, directory.join("log")).unwrap();
        let error = loop {
            match processes.all_run() {
                Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("it ended") && error.contains("no such thing"), "{error}");
        processes.stop().await;
        assert!(processes.pids().is_empty());
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn stop_ends_what_runs() {
        let log = std::env::temp_dir().join(format!("side-by-side-{}.log", std::process::id()));
        let mut processes = Processes::default();
        processes.start("sleeper", Command::new("sleep").arg("600"), log.clone()).unwrap();
        let pid = processes.pids()[0];
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        processes.stop().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        fs::remove_file(log).unwrap();
    }
}
