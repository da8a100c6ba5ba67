//! Quorate.

pub mod caller;
pub mod cli;
pub mod client;
pub mod config;
pub mod crypto;
pub mod files;
pub mod ordering;
pub mod replica;
pub mod service;
pub mod transport;
pub mod types;
pub mod voter;
pub mod wire;

pub use client::Client;
