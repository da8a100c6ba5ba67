//! Key files as text (filled in below).
