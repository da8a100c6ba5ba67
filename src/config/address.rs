//! Addresses of replicas.

use super::error::ConfigError;
use super::field::Key;
use std::net::SocketAddr;

/// Where a replica can be dialled. Equal ones compare equal however they are written.
pub(super) struct Address {
    /// As it was written.
    pub(super) text: String,
    /// In one spelling.
    pub(super) host: String,
    port: u16,
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

impl Address {
    pub(super) fn parse(key: &Key<'_>) -> Result<Self, ConfigError> {
        let text = key.text()?;
        if let Ok(socket) = text.parse::<SocketAddr>() {
            if socket.ip().is_unspecified() {
                return Err(key.refuse(
                    "the others dial this address, so it cannot be the one for all interfaces",
                ));
            }
            refuse_port_zero(key, socket.port())?;
            let host = socket.ip().to_canonical().to_string();
            return Ok(Self { text: text.to_owned(), host, port: socket.port() });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(key.refuse(format!("{text:?} has no port; an address is host:port")));
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(key.error(
                format!("{text:?} looks like IPv6"),
                format!("write it in brackets: \"[{host}]:{port}\""),
            ));
        }
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| {
            key.refuse(format!("{port:?} is no port; ports are numbers from 1 to 65535"))
        })?;
        refuse_port_zero(key, port)?;
        if !is_host_name(host) {
            return Err(key.refuse(format!("{host:?} is neither a host name nor an IP address")));
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { text: text.to_owned(), host, port })
    }
}

/// An admin address: an IP address with a port.
pub(super) fn parse_admin(key: &Key<'_>) -> Result<SocketAddr, ConfigError> {
    let text = key.text()?;
    let address = text.parse::<SocketAddr>().map_err(|_| {
        key.refuse(format!("{text:?} is not an IP address with a port (no host names here)"))
    })?;
    if address.ip().is_unspecified() {
        return Err(key.refuse(
            "`quorate status` dials this address, so it cannot be the one for all interfaces",
        ));
    }
    refuse_port_zero(key, address.port())?;
    Ok(address)
}

fn refuse_port_zero(key: &Key<'_>, port: u16) -> Result<(), ConfigError> {
    match port {
        0 => Err(key.refuse("port 0 cannot be dialled; ports are numbers from 1 to 65535")),
        _ => Ok(()),
    }
}

/// Letters, digits, hyphens and dots, no label empty or longer than 63, not only digits and dots
/// (which would be an IPv4 address with a mistake in it).
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&l.len()) && l.bytes().all(inner) && !l.starts_with('-')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
