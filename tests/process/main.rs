//! Real processes, real QUIC on loopback, real signals.

mod client;
mod commands;
mod running;
