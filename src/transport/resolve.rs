//! From `host:port` to addresses.

use std::io;
use std::net::SocketAddr;

/// Addresses of one host name that are tried at most, all at once.
pub const MAX_ADDRESSES: usize = 4;

/// The addresses of `host:port`, at most [`MAX_ADDRESSES`] and at least one.
///
/// # Errors
/// What the system says, also if there are none.
pub async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = tokio::net::lookup_host(address).await?.take(MAX_ADDRESSES).collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(found),
    }
}
