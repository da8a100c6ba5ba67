//! Real processes, real QUIC on loopback, real signals.

mod bench;
mod cluster;
mod commands;
