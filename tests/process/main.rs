//! Real processes.

mod commands;
