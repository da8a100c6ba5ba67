//! Quorate.

pub mod caller;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod files;
pub mod replica;
pub mod service;
pub mod types;
pub mod voter;
pub mod wire;
