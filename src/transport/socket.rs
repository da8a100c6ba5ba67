//! The UDP socket under an endpoint: as many datagrams at once as the kernel takes.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes that the kernel takes in one call with segmentation offload, and hands up in one: an IP
/// packet's length is a number of 16 bits, which its headers count towards.
const MOST: usize = 65_535;
const HEADERS: usize = 40 + 8;

/// A socket that never asks the kernel for more than one packet can hold. Quinn puts ten datagrams
/// into a call, whatever their size; of more than 6.5 KB each the kernel refuses all, and quinn
/// takes that for the loss of a probe.
#[derive(Debug)]
pub(super) struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// The largest datagram that is sent or taken, bytes.
    datagram: usize,
}

impl Socket {
    /// Hands a bound socket to the runtime.
    ///
    /// # Errors
    /// If the operating system refuses what the runtime asks of it.
    pub(super) fn new(socket: UdpSocket, datagram: u16, with: &impl Runtime) -> io::Result<Self> {
        let inner = with.wrap_udp_socket(socket)?;
        Ok(Self { inner, datagram: usize::from(datagram).max(1) })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        let fit = (MOST - HEADERS) / self.datagram;
        self.inner.max_transmit_segments().min(fit).max(1)
    }

    /// So many that a buffer for each of them holds whatever one call can give: quinn reserves the
    /// product.
    fn max_receive_segments(&self) -> usize {
        let fit = MOST.div_ceil(self.datagram);
        self.inner.max_receive_segments().min(fit).max(1)
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::TokioRuntime;

    fn socket(datagram: u16) -> Socket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Socket::new(socket, datagram, &TokioRuntime).unwrap()
    }

    #[tokio::test]
    async fn what_goes_in_one_call_fits_into_one_packet_and_what_comes_in_one_into_its_buffer() {
        for datagram in [1200, 1472, 6600, 8972] {
            let socket = socket(datagram);
            let size = usize::from(datagram);
            let (out, back) = (socket.max_transmit_segments(), socket.max_receive_segments());
            assert!(out * size <= MOST - HEADERS, "{datagram}: {out}");
            // One that cannot join packets gives them one by one.
            assert!(back == 1 || back * size >= MOST, "{datagram}: {back}");
        }
    }
}
