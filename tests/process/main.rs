//! Real processes, real QUIC on loopback, real signals.

mod bench;
mod changes;
mod client;
mod cluster;
mod commands;
mod demo;
mod evidence;
mod keys;
mod ledger;
mod readme;
mod refusals;
mod stops;
