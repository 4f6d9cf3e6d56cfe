//! The few rtnetlink requests that clsact filters need: qdiscs and filters of one interface.

use super::Side;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// The program's answer is the verdict (`TCA_BPF_FLAG_ACT_DIRECT`).
const ACT_DIRECT: u32 = 1;

/// The clsact qdisc's parent and handle (`TC_H_CLSACT`).
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `nlmsghdr` and `tcmsg`.
const HEADER: usize = 16;
const TC: usize = 20;

/// A filter of an interface that runs a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    /// Its priority: lower runs earlier.
    pub(crate) priority: u16,
    /// Its handle within the priority.
    pub(crate) handle: u32,
    /// The name it was made with; empty for filters that run no program.
    pub(crate) name: String,
    /// The kernel's id of the program.
    pub(crate) program_id: u32,
}

const fn parent(side: Side) -> u32 {
    match side {
        Side::Ingress => 0xffff_fff2,
        Side::Egress => 0xffff_fff3,
    }
}

/// Adds the clsact qdisc; `false` when there is one already.
pub(crate) fn add_qdisc(ifindex: u32) -> io::Result<bool> {
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let mut request = Request::new(NEW_QDISC, flags, ifindex, CLSACT_HANDLE, CLSACT, 0);
    request.string(KIND, "clsact");
    match request.send() {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes the clsact qdisc with every filter in it.
pub(crate) fn remove_qdisc(ifindex: u32) -> io::Result<()> {
    Request::new(DEL_QDISC, 0, ifindex, CLSACT_HANDLE, CLSACT, 0).send().map(|_| ())
}

/// Whether the interface has a clsact qdisc.
pub(crate) fn has_qdisc(ifindex: u32) -> io::Result<bool> {
    let answers = Request::new(GET_QDISC, libc::NLM_F_DUMP as u16, ifindex, 0, 0, 0).send()?;
    Ok(answers.iter().any(|m| m.ifindex == ifindex && m.parent == CLSACT))
}

/// Makes a filter, or replaces the program of the one with this priority and handle.
pub(crate) fn put_filter(ifindex: u32, side: Side, filter: &Filter, program: i32) -> io::Result<()> {
    let flags = libc::NLM_F_CREATE as u16 | if filter.handle == 0 { libc::NLM_F_EXCL as u16 } else { 0 };
    let mut request =
        Request::new(NEW_FILTER, flags, ifindex, filter.handle, parent(side), info(filter.priority));
    request.string(KIND, "bpf");
    let start = request.open(OPTIONS);
    request.bytes(BPF_FD, &program.to_ne_bytes());
    request.string(BPF_NAME, &filter.name);
    request.bytes(BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
    request.close(start);
    request.send().map(|_| ())
}

/// Removes one filter.
pub(crate) fn remove_filter(ifindex: u32, side: Side, filter: &Filter) -> io::Result<()> {
    Request::new(DEL_FILTER, 0, ifindex, filter.handle, parent(side), info(filter.priority))
        .send()
        .map(|_| ())
}

/// The filters at one side of an interface, in the order they run; none without a clsact qdisc.
pub(crate) fn filters(ifindex: u32, side: Side) -> io::Result<Vec<Filter>> {
    let request = Request::new(GET_FILTER, libc::NLM_F_DUMP as u16, ifindex, 0, parent(side), 0);
    let answers = match request.send() {
        Ok(answers) => answers,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)) => {
            return Ok(vec![]);
        }
        Err(e) => return Err(e),
    };
    // A priority without a filter is listed with handle zero.
    let real = answers.into_iter().filter(|m| m.ifindex == ifindex && m.handle != 0);
    let mut filters: Vec<Filter> = real
        .map(|m| {
            let options = m.attribute(OPTIONS).unwrap_or_default();
            let text = find(options, BPF_NAME).unwrap_or_default();
            Filter {
                priority: (m.info >> 16) as u16,
                handle: m.handle,
                name: String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned(),
                program_id: find(options, BPF_ID).and_then(word).unwrap_or(0),
            }
        })
        .collect();
    filters.sort_by_key(|f| f.priority);
    Ok(filters)
}

/// Priority and protocol (all) as `tcm_info` has them.
fn info(priority: u16) -> u32 {
    u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be())
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The payload of one attribute in a run of attributes.
pub(super) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [l0, l1, k0, k1, ..] = *attributes {
        let len = u16::from_ne_bytes([l0, l1]) as usize;
        let kind = u16::from_ne_bytes([k0, k1]) & !(libc::NLA_F_NESTED as u16);
        let payload = attributes.get(4..len)?;
        if kind == wanted {
            return Some(payload);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// A qdisc or filter in an answer.
struct Message {
    ifindex: u32,
    handle: u32,
    parent: u32,
    info: u32,
    attributes: Vec<u8>,
}

impl Message {
    fn parse(payload: &[u8]) -> Option<Self> {
        Some(Self {
            ifindex: word(payload.get(4..)?)?,
            handle: word(payload.get(8..)?)?,
            parent: word(payload.get(12..)?)?,
            info: word(payload.get(16..)?)?,
            attributes: payload.get(TC..)?.to_vec(),
        })
    }
    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        find(&self.attributes, kind)
    }
}

/// A request under construction.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16, ifindex: u32, handle: u32, parent: u32, info: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        // Sequence 1, port chosen by the kernel, then tcmsg: family and padding.
        for number in [1, 0, 0, ifindex, handle, parent, info] {
            bytes.extend(number.to_ne_bytes());
        }
        debug_assert_eq!(bytes.len(), HEADER + TC);
        Self { bytes }
    }

    fn bytes(&mut self, kind: u16, payload: &[u8]) {
        self.bytes.extend((4 + payload.len() as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn string(&mut self, kind: u16, text: &str) {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat());
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes(kind, &[]);
        start
    }

    fn close(&mut self, start: usize) {
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Sends it and reads the answers up to the acknowledgement or the end of the dump.
    fn send(mut self) -> io::Result<Vec<Message>> {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let socket = socket()?;
        // SAFETY: a live buffer of the length given.
        let sent = unsafe { libc::send(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; 64 * 1024];
        while !receive(&socket, &mut buffer, &mut answers)? {}
        Ok(answers)
    }
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads one datagram of answers; `true` when it was the last.
fn receive(socket: &OwnedFd, buffer: &mut [u8], answers: &mut Vec<Message>) -> io::Result<bool> {
    // SAFETY: a live buffer of the length given.
    let len = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if len < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    let mut rest = &buffer[..len as usize];
    while let Some(len) = word(rest).map(|l| l as usize).filter(|l| *l >= HEADER && *l <= rest.len()) {
        let (message, payload) = (&rest[..len], &rest[HEADER..len]);
        match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
            libc::NLMSG_ERROR => {
                let code = word(payload).unwrap_or(0) as i32;
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            libc::NLMSG_DONE => return Ok(true),
            _ => answers.extend(Message::parse(payload)),
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}
