//! `quorate keygen`.

use super::{Subcommand, output};
use crate::files::create_identity;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make the key pair of one replica or client
#[derive(Args)]
pub(super) struct Keygen {
    /// Whose key it is: makes NAME.pem (private) and NAME.pub.pem (public)
    #[arg(long)]
    name: String,
    /// The directory that the files are made in; nothing is overwritten
    #[arg(long, default_value = "keys")]
    out: PathBuf,
}

impl Subcommand for Keygen {
    fn run(self) -> anyhow::Result<ExitCode> {
        let made = create_identity(&self.out, &self.name)?;
        let public = made.secret.public();
        output::print(&format!(
            "made {}, the private key: it stays with its owner\n\
             made {}, the public key {}\n\n\
             in the cluster file it is written\n  public_key = \"{}\"\n",
            made.private_file.display(),
            made.public_file.display(),
            public.fingerprint(),
            public.to_inline(),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
