//! Header layouts, as they stand in a packet (network byte order).

/// Bytes of an Ethernet header (IEEE 802.3).
pub const ETH_LEN: u32 = 14;

/// IPv4 without options (RFC 791 3.1).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ip4Header {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_len: u16,
    pub id: u16,
    pub frag: u16,
    pub ttl: u8,
    pub proto: u8,
    pub check: u16,
    pub src: u32,
    pub dst: u32,
}

/// IPv6 fixed header (RFC 8200 3).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ip6Header {
    pub version_flow: u32,
    pub payload_len: u16,
    pub next: u8,
    pub hop_limit: u8,
    pub src: [u32; 4],
    pub dst: [u32; 4],
}

/// The part of a TCP header (RFC 9293 3.1) that a translator reads.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TcpHeader {
    pub sport: u16,
    pub dport: u16,
    pub seq: u32,
    pub ack: u32,
    pub offset: u8,
    pub flags: u8,
    pub window: u16,
    pub check: u16,
    pub urgent: u16,
}

/// UDP (RFC 768).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UdpHeader {
    pub sport: u16,
    pub dport: u16,
    pub len: u16,
    pub check: u16,
}

/// SCTP's common header and the type of its first chunk (RFC 9260 3).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SctpHeader {
    pub sport: u16,
    pub dport: u16,
    pub tag: u32,
    pub check: u32,
    pub chunk: u8,
    pub flags: u8,
    pub len: u16,
}

/// ICMP (RFC 792) and ICMPv6 (RFC 4443) up to the sum.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IcmpHeader {
    pub kind: u8,
    pub code: u8,
    pub check: u16,
}

const _: () = assert!(
    size_of::<Ip4Header>() == 20
        && size_of::<Ip6Header>() == 40
        && size_of::<TcpHeader>() == 20
        && size_of::<UdpHeader>() == 8
        && size_of::<SctpHeader>() == 16
        && size_of::<IcmpHeader>() == 4
);
