//! Real processes, real QUIC on loopback, real signals.

mod bench;
mod cables;
mod chains;
mod changes;
mod client;
mod cluster;
mod commands;
mod convert;
mod demo;
mod disks;
mod evidence;
mod faults;
mod history;
mod keys;
mod ledger;
mod load;
mod offline;
mod outcomes;
mod power;
mod readme;
mod refusals;
mod repair;
mod several;
mod stops;
