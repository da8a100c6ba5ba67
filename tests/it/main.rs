//! Everything simulated or in memory.

mod config;
mod service;
