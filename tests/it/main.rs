//! Everything that needs no process of its own.

mod config;
