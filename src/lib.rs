//! Quorate.

pub mod adversary;
pub mod caller;
pub mod config;
pub mod crypto;
pub mod files;
pub mod ordering;
pub mod replica;
pub mod service;
pub mod simulator;
pub mod transport;
pub mod types;
pub mod voter;
pub mod wire;
