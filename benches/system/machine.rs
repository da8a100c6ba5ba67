//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// The machine, as one phrase.
pub fn machine() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    // Its name does not say so, and signatures take half the time with it.
    let has_ifma = field("/proc/cpuinfo", "flags").is_some_and(|f| f.contains("avx512ifma"));
    let vectors = if has_ifma { "AVX-512" } else { "no AVX-512" };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = field("/proc/meminfo", "MemTotal");
    let kib = memory.as_deref().and_then(|m| m.strip_suffix(" kB")?.trim().parse::<f64>().ok());
    let memory = kib.map_or("unknown memory".to_owned(), |k| format!("{:.0} GiB", k / 1048576.0));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpu} ({vectors}), {cores} cores, {memory}, Linux {kernel}")
}

/// The share of all cores' time, 0 to 1, that is used while this waits: what others do, and what
/// the machine's own host takes away. The load average would tell of what has ended long since.
pub fn in_use(during: Duration) -> f64 {
    let before = times();
    sleep(during);
    let passed: Vec<f64> = times().iter().zip(before).map(|(now, then)| now - then).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let all: f64 = passed.iter().sum();
    let idle: f64 = passed.iter().skip(3).take(2).sum();
    // The kernel's count of waiting for disks may go back a little.
    (1.0 - idle / all).clamp(0.0, 1.0)
}

fn times() -> Vec<f64> {
    let text = read("/proc/stat");
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    all.filter_map(|ticks| ticks.parse().ok()).collect()
}

/// The commit of the tree, and whether it is what is in the working directory. What the benchmark
/// itself writes does not count as a change.
pub fn commit(tree: &Path, own: &[&str]) -> String {
    let git = |arguments: &[&str]| {
        let ran = Command::new("git").arg("-C").arg(tree).args(arguments).output().ok()?;
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "no commit (not a git tree)".to_owned();
    };
    let changes = git(&["status", "--porcelain"]).unwrap_or_default();
    let changed =
        changes.lines().filter_map(|l| l.get(3..)).any(|l| !own.iter().any(|o| l.contains(o)));
    let more = if changed { " with uncommitted changes" } else { "" };
    format!("commit {}{more}", commit.trim())
}

/// Today.
pub fn date() -> String {
    let date = Command::new("date").arg("+%F").output();
    date.map_or("unknown date".into(), |d| String::from_utf8_lossy(&d.stdout).trim().to_owned())
}

/// Resident memory of a process, in MiB.
pub fn resident(pid: u32) -> Option<f64> {
    let kib = field(&format!("/proc/{pid}/status"), "VmRSS")?;
    Some(kib.strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let of = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn this_process_has_memory_and_this_machine_a_name() {
        let mine = resident(std::process::id()).unwrap();
        assert!((0.5..10_000.0).contains(&mine), "{mine} MiB");
        assert_eq!(resident(u32::MAX), None);
        let machine = machine();
        assert!(machine.contains(" cores, ") && machine.contains(" GiB, Linux "), "{machine}");
    }

    #[test]
    fn work_of_others_is_seen() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..std::thread::available_parallelism().unwrap().get() {
                threads.spawn(|| while !stop.load(Ordering::Relaxed) {});
            }
            let share = in_use(Duration::from_millis(500));
            stop.store(true, Ordering::Relaxed);
            assert!((0.5..=1.0).contains(&share), "{share}");
        });
    }
}
