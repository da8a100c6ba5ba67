//! Files: where cluster files and keys are read and made.
//!
//! [`crate::config`] and [`crate::crypto`] are pure; what they need from a disk comes from here.
//! Private keys are refused when anybody but their owner may read them, are created with mode
//! 0600, never overwritten, and wiped from memory after use.

mod cluster;
mod error;
pub mod init;
mod keys;
mod ports;
mod write;

pub use cluster::{load_cluster, load_settings, parse_cluster, read_configuration};
pub use error::{FileError, shell_word};
pub use keys::{Identity, create_identity, generate_key, read_public_key, read_secret_key};
pub use ports::free_base_port;
pub use write::{create_directories, create_new, rename, write_atomically};
