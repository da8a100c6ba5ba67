//! Real processes, real QUIC on loopback, real signals.

mod commands;
