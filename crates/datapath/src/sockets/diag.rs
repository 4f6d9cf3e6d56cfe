//! sock_diag: the kernel's listing of sockets, and its way to end one.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use shunt_common::Proto;
use shunt_model::store::Family;
use std::io;

/// The kernel fills at most this much at a time.
const BUFFER: usize = 64 << 10;

/// By which a socket is known everywhere, also to programs.
pub(super) fn cookie(header: &InetResponseHeader) -> u64 {
    let [a, b, c, d, e, f, g, h] = header.socket_id.cookie;
    // Two words, the low one first, each as this machine keeps words.
    let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    u64::from(high) << 32 | u64::from(low)
}

/// A netlink socket; it stays in the namespace where it was opened.
pub(super) struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Diag {
    /// In the thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// The connected sockets whose cookies are wanted.
    pub(super) fn connected(
        &mut self,
        family: Family,
        proto: Proto,
        wanted: impl Fn(u64) -> bool,
    ) -> io::Result<Vec<InetResponseHeader>> {
        let (family, socket_id) = match family {
            Family::V4 => (AF_INET, SocketId::new_v4()),
            Family::V6 => (AF_INET6, SocketId::new_v6()),
        };
        let request = InetRequest {
            family,
            protocol: proto as u8,
            extensions: ExtensionFlags::empty(),
            // A UDP socket is "established" when it is connected.
            states: StateFlags::ESTABLISHED | StateFlags::SYN_SENT | StateFlags::CLOSE_WAIT,
            socket_id,
        };
        self.send(NLM_F_REQUEST | NLM_F_DUMP, SockDiagMessage::InetRequest(request))?;
        let mut found = Vec::new();
        self.answers(|message| {
            if let SockDiagMessage::InetResponse(response) = message
                && wanted(cookie(&response.header))
            {
                found.push(response.header);
            }
        })?;
        Ok(found)
    }

    /// Ends a socket. `false` when it is gone or another one by now.
    pub(super) fn destroy(&mut self, header: InetResponseHeader, proto: Proto) -> io::Result<bool> {
        let request = InetRequest {
            family: header.family,
            protocol: proto as u8,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id: header.socket_id,
        };
        let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.send(NLM_F_REQUEST | NLM_F_ACK, message)?;
        match self.answers(|_| {}) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send<M>(&self, flags: u16, message: M) -> io::Result<()>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut packet = NetlinkMessage::new(header, message.into());
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads to the end of a dump or to an acknowledgement.
    fn answers(&mut self, mut each: impl FnMut(SockDiagMessage)) -> io::Result<()> {
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = &self.buffer[..];
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
                let length = (message.header.length as usize).next_multiple_of(4).clamp(4, rest.len());
                rest = &rest[length..];
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    // A dump that fails says so at its end.
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}
