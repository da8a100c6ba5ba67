//! What the targets run: the same bodies, within the same allowance of memory, as `cargo test`.

#[path = "../../tests/it/fuzz/bodies.rs"]
pub mod bodies;
