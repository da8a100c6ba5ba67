//! The commands of README.md, run as they stand there.

use quorate::files::free_base_port;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");

/// The lines after `$ ` in the README's console blocks.
fn commands() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(file).unwrap();
    let mut in_block = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if in_block && let Some(command) = line.strip_prefix("$ ") {
            commands.push(command.to_owned());
        }
    }
    commands
}

/// What a replica says whose port somebody else has.
const TAKEN: [&str; 2] = ["cannot listen on UDP", "cannot serve status on"];

/// One command of the walk, run by a shell in a way that its end can be looked at.
struct Step {
    command: String,
    /// Shell text that runs it.
    script: String,
}

// Each command as it stands, but for a port that is free; again where a person would look again.
fn step(number: usize, command: &str, port: u16) -> Step {
    let mut run = command.to_owned();
    if run.starts_with("quorate init") {
        run.push_str(&format!(" --base-port {port}"));
    }
    let streams = format!(">out.{number} 2>err.{number}");
    let mut script = match run.strip_suffix(" &") {
        Some(run) => format!("{run} {streams} &"),
        None => format!("{{ {run}\n}} {streams}"),
    };
    script.push_str(&format!("\ncode=$?; echo $code >code.{number}"));
    if run.starts_with("quorate status") {
        let [udp, tcp] = TAKEN;
        let hopeless = format!("grep -qs -e '{udp}' -e '{tcp}' err.* && exit 1");
        script = format!("while\n{script}\n[ $code != 0 ]; do {hopeless}; sleep 0.1; done");
    }
    if run.contains("--explain") {
        // The liar's answer may come after the majority; sooner or later it does not.
        let missed = format!("! grep -q 'R3 *differs' err.{number}");
        script = format!("n=0; while\n{script}\n{missed} && [ $((n+=1)) -lt 200 ]; do :; done");
    }
    for job in run.strip_prefix("kill ").into_iter().flat_map(str::split_whitespace) {
        script.push_str(&format!("\nwait {job}; echo $? >ended.{}", job.trim_start_matches('%')));
    }
    Step { command: command.to_owned(), script }
}

// `--stop-with-stdin` and the pipe see to it that replicas end with this process.
// False if a port was taken.
fn shell(steps: &[Step], directory: &Path) -> bool {
    let mut script = format!(
        "set -m\nquorate() {{ case $1 in replica) exec '{PROGRAM}' \"$@\" --stop-with-stdin;; \
         *) '{PROGRAM}' \"$@\" </dev/null;; esac; }}\n"
    );
    for step in steps {
        script.push_str(&format!("{}\n", step.script));
    }
    let path = directory.join("walk.sh");
    fs::write(&path, script).unwrap();
    let mut shell = Command::new("bash")
        .arg(&path)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let open = shell.stdin.take();
    let deadline = Instant::now() + Duration::from_secs(180);
    while shell.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = shell.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Whatever still runs ends now.
    drop(open);
    let status = shell.wait().unwrap();
    let taken = |number: usize| {
        let text = fs::read_to_string(directory.join(format!("err.{number}"))).unwrap_or_default();
        TAKEN.iter().any(|part| text.contains(part))
    };
    if (0..steps.len()).any(taken) {
        return false;
    }
    let mut numbered = steps.iter().enumerate();
    let missing = numbered.find(|(n, _)| !directory.join(format!("code.{n}")).exists());
    let at = missing.map(|(_, step)| step.command.as_str());
    assert!(status.success(), "the walk came to no end; without a result: {at:?}");
    true
}

#[test]
fn the_walk_does_what_it_says() {
    let all = commands();
    let walk: Vec<&String> = all.iter().filter(|c| !c.starts_with("cargo")).collect();
    assert!(walk.len() >= 12, "{walk:#?}");
    let attempt = || {
        let port = free_base_port(3).unwrap();
        let numbered = walk.iter().enumerate();
        let steps: Vec<Step> = numbered.map(|(number, c)| step(number, c, port)).collect();
        let dir = tempfile::tempdir().unwrap();
        shell(&steps, dir.path()).then_some((steps, dir))
    };
    let (steps, dir) = std::iter::repeat_with(attempt)
        .take(5)
        .flatten()
        .next()
        .expect("a walk without a port that somebody else took meanwhile");

    let read = |name: String| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let mut stopped = false;
    for (number, step) in steps.iter().enumerate() {
        let command = step.command.as_str();
        let (out, err) = (read(format!("out.{number}")), read(format!("err.{number}")));
        let code = read(format!("code.{number}"));
        let (expected, says): (&str, &[&str]) = match command {
            c if c.starts_with("kill %2") => {
                stopped = true;
                ("0", &[])
            }
            c if c.contains("quorate init") => ("0", &["3 replicas, of which 1 may be bad"]),
            c if c.contains("quorate check") => ("0", &["n = 3", "delta"]),
            c if c.contains("quorate replica") => ("0", &["link up"]),
            c if c.contains("quorate status") => ("0", &["R3", "member"]),
            c if c.ends_with("put colour blue") => ("0", &["done"]),
            c if c.contains("--explain") => ("0", &["blue", "R3       differs"]),
            c if c.contains("get colour") && stopped => ("3", &["R2       silent"]),
            _ => ("0", &[]),
        };
        assert_eq!(code.trim(), expected, "{command}\n{out}{err}");
        for part in says {
            assert!(format!("{out}{err}").contains(part), "{command}: {part}\n{out}{err}");
        }
    }
    for job in 1..=3 {
        assert_eq!(read(format!("ended.{job}")).trim(), "0", "job {job} did not stop cleanly");
    }
}

#[test]
fn the_commands_for_cargo_are_those_that_are_tested() {
    let all = commands();
    let cargo: Vec<&str> =
        all.iter().map(String::as_str).filter(|c| c.starts_with("cargo")).collect();
    let expected = ["cargo run --release -- demo", "cargo test", "cargo install --path . --locked"];
    assert_eq!(cargo, expected, "a new one needs a test here");
    // What the first one shows, `demo.rs` tests; the options that the text names exist.
    let help = Command::new(PROGRAM).args(["demo", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in ["--t", "--lie", "random", "--requests", "--clients", "--keep"] {
        assert!(help.contains(option), "{help}");
    }
}
