//! The command line: one file for each subcommand.
//!
//! To add one: write `src/cli/NAME.rs` with a struct that derives [`clap::Args`] and implements
//! `Subcommand`, and add its line to `subcommands!` below and its `mod` (rustfmt sees no modules
//! that a macro declares). The struct's doc comment is its help.
//!
//! Exit codes: 0 all is well; 2 the command line, a file or the configuration is wrong; what else
//! there is, the subcommand's [`Failure`] says.

mod admin;
mod ask;
mod bench;
mod check;
mod client;
mod convert;
mod delta;
mod demo;
mod doctor;
mod evidence;
mod init;
mod keygen;
mod log;
mod output;
mod receipt;
mod replay;
mod replica;
mod sim;
mod snapshot;
mod status;
mod votes;

use clap::Parser;
use std::fmt;
use std::process::ExitCode;

/// What a subcommand does.
trait Subcommand {
    /// Runs it. An error is printed with its causes; the process then ends with the code of the
    /// [`Failure`] in it, or with 2.
    fn run(self) -> anyhow::Result<ExitCode>;
}

macro_rules! subcommands {
    ($($module:ident :: $name:ident),* $(,)?) => {
        #[derive(clap::Subcommand)]
        enum Command {
            $($name($module::$name),)*
        }

        impl Command {
            fn run(self) -> anyhow::Result<ExitCode> {
                match self {
                    $(Command::$name(command) => command.run(),)*
                }
            }
        }
    };
}

subcommands! {
    init::Init,
    keygen::Keygen,
    check::Check,
    replica::Replica,
    status::Status,
    client::Client,
    admin::Admin,
    doctor::Doctor,
    bench::Bench,
    demo::Demo,
    evidence::Evidence,
    receipt::Receipt,
    log::Log,
    snapshot::Snapshot,
    replay::Replay,
    convert::Convert,
    sim::Sim,
}

/// Keeps a service answering, and answering right, while some of the machines that run it crash,
/// stall or lie.
#[derive(Parser)]
#[command(name = "quorate", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// An error with an exit code of its own.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What is printed.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code for a wrong command line, file or configuration.
pub const USAGE: u8 = 2;

/// Runs the command line of this process and gives its exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    cli.command.run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(error.downcast_ref::<Failure>().map_or(USAGE, |f| f.code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_part_has_a_help() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{} says nothing about itself", sub.get_name());
            for arg in sub.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", sub.get_name(), arg.get_id());
            }
        }
    }
}
