//! Everything that runs in memory: no process, no socket, no real time.

mod bodies;
mod chain;
mod chains;
mod clients;
mod config;
mod delta;
mod divergence;
mod epochs;
mod explore;
mod faults;
mod fuzz;
mod ledger;
mod liars;
mod offline;
mod partitions;
#[cfg(feature = "plant")]
mod planted;
mod power;
mod receipts;
mod repair;
mod service;
mod simulation;
mod strict;
mod transfer;
mod wire;
