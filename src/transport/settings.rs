//! Timeouts, windows and limits of an endpoint.

use super::{LinkClass, TransportError};
use crate::types::MTU;
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// TLS messages of a handshake with raw keys are below 1 KiB; this is what a peer may send of
/// them ahead of order.
const CRYPTO_BUFFER: usize = 16 * 1024;

/// The same of IPv6: what is probed for.
const PROBED: u16 = 8952;

/// How an endpoint behaves; the defaults suit a local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A link on which nothing was heard for so long is lost. The lower value of both sides
    /// counts. Suspecting a slow replica is the protocol's business, with timers of its own.
    pub idle_timeout: Duration,
    /// An idle link sends something so often; below half of `idle_timeout`.
    pub keep_alive: Duration,
    /// A handshake, and then the first frame of the other side, may take so long each.
    pub handshake_timeout: Duration,
    /// How long a closing link tries to deliver what was sent before.
    pub close_grace: Duration,
    /// Bytes in flight and unread on one lane at most.
    pub stream_window: u32,
    /// Bytes queued on one lane at most, those not taken over by the connection yet; above it the
    /// link is closed, or on the bulk lane the frame is dropped. The connection itself holds up to
    /// two stream windows more.
    pub outbox_bytes: usize,
    /// Bytes of buffer that the operating system is asked for, in each direction.
    pub socket_buffer: usize,
    /// The first estimate of a round trip: how soon a lost packet of a handshake is repeated.
    pub initial_rtt: Duration,
    /// Segmentation offload: half a microsecond less per small message; off for network drivers
    /// that fail with it.
    pub gso: bool,
    /// Bytes in a datagram from the start, 1200 to 8972, where all paths between the hosts are
    /// known to carry it; `None` starts at 1200 and probes what the path carries, up to 8952: a
    /// jumbo frame, which loopback carries as well. Larger ones cost less processor time a byte.
    pub mtu: Option<u16>,
    /// Handshakes under way at most, of peers that have shown to be at their address (B28).
    pub max_handshakes: usize,
    /// Of these, from one address at most (B29).
    pub max_handshakes_per_address: usize,
    /// Handshakes under way with peers that may have forged their address; above it newcomers
    /// must show first that they receive at it (QUIC Retry).
    pub retry_above: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(4),
            keep_alive: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(3),
            close_grace: Duration::from_millis(500),
            stream_window: 4 << 20,
            outbox_bytes: 32 << 20,
            socket_buffer: 4 << 20,
            initial_rtt: Duration::from_millis(5),
            gso: true,
            mtu: None,
            max_handshakes: 256,
            max_handshakes_per_address: 64,
            retry_above: 64,
        }
    }
}

impl Settings {
    /// The same with the datagrams that a cluster's paths carry, unless some are set already.
    pub fn on_paths_of(self, mtu: Option<u16>) -> Self {
        Self { mtu: self.mtu.or(mtu), ..self }
    }

    /// Whether the values make sense together.
    pub(super) fn check(&self) -> Result<(), TransportError> {
        let wrong = |text: String| Err(TransportError::Settings(text));
        if IdleTimeout::try_from(self.idle_timeout).is_err() {
            return wrong(format!("idle timeout {:?} is too long", self.idle_timeout));
        }
        if self.keep_alive.saturating_mul(2) > self.idle_timeout {
            return wrong(format!(
                "keep-alive {:?} must be at most half of the idle timeout {:?}, or idle links die",
                self.keep_alive, self.idle_timeout
            ));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !MTU.contains(mtu)) {
            return wrong(format!("MTU {mtu} must be {} to {}", MTU.start(), MTU.end()));
        }
        if self.stream_window < 64 * 1024 {
            return wrong(format!("stream window {} must be 65536 or more", self.stream_window));
        }
        if self.max_handshakes == 0 || self.max_handshakes_per_address == 0 {
            return wrong("no handshake would ever be allowed".to_owned());
        }
        Ok(())
    }

    /// The acceptor opens the streams: its dialler may open none.
    pub(super) fn for_acceptor(&self) -> Arc<TransportConfig> {
        Arc::new(self.transport(0))
    }

    /// The dialler lets the acceptor open the streams of the class.
    pub(super) fn for_dialler(&self, class: LinkClass) -> Arc<TransportConfig> {
        Arc::new(self.transport(class.streams()))
    }

    /// The largest datagram that this endpoint says it takes.
    pub(super) fn max_datagram(&self) -> u16 {
        self.mtu.unwrap_or(PROBED).max(1472)
    }

    fn transport(&self, streams: u8) -> TransportConfig {
        let idle =
            IdleTimeout::try_from(self.idle_timeout).expect("checked when the endpoint was made");
        // One full lane leaves the other its own window, at the receiver and in the sender's
        // buffer: bulk that is not read cannot hold up the protocol.
        let both = self.stream_window.saturating_mul(2);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(u32::from(streams)))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(self.keep_alive))
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(both))
            .send_window(u64::from(both))
            .crypto_buffer_size(CRYPTO_BUFFER)
            .datagram_receive_buffer_size(None)
            .initial_rtt(self.initial_rtt)
            .enable_segmentation_offload(self.gso);
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(self.mtu.unwrap_or(PROBED));
        config.mtu_discovery_config(Some(discovery));
        if let Some(mtu) = self.mtu {
            config.initial_mtu(mtu);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn values_that_would_break_links_are_refused_with_the_reason() {
        let d = Settings::default;
        let wrong = [
            (Settings { keep_alive: Duration::from_secs(3), ..d() }, "keep-alive"),
            (Settings { mtu: Some(16_000), ..d() }, "MTU"),
            (Settings { mtu: Some(100), ..d() }, "MTU"),
            (Settings { stream_window: 10, ..d() }, "stream window"),
            (Settings { max_handshakes: 0, ..d() }, "handshake"),
            (Settings { idle_timeout: Duration::MAX, ..d() }, "idle timeout"),
        ];
        for (settings, word) in wrong {
            let shown = settings.check().unwrap_err().to_string();
            assert!(shown.contains(word), "{shown}");
        }
    }
}
