//! Real processes, real QUIC on loopback, real signals.

mod bench;
mod client;
mod cluster;
mod commands;
mod demo;
mod ledger;
mod readme;
mod refusals;
mod stops;
