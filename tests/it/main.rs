//! Everything that runs in memory: no process, no socket, no real time.

mod service;
mod simulation;
