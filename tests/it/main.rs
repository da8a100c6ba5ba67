//! Everything that runs in memory: no process, no socket, no sleeping.

mod config;
mod ledger;
mod service;
mod wire;
