//! Asking the agent over its socket.

use super::{Common, Failure};
use crate::server::SOCKET;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Reads one endpoint.
///
/// # Errors
/// [`Failure::Unreachable`] when no agent answers.
pub(super) fn get<T: DeserializeOwned>(common: &Common, path: &str) -> Result<T, Failure> {
    let socket = common.run_dir.clone().unwrap_or_else(|| PathBuf::from("/run/shunt")).join(SOCKET);
    let unreachable = |what: String| {
        let at = socket.display();
        Failure::Unreachable(format!(
            "no agent answers on {at}: {what}; is `shunt agent` running with this --run-dir?"
        ))
    };
    let answer = exchange(&socket, path).map_err(|e| unreachable(e.to_string()))?;
    let (head, body) = split(&answer).ok_or_else(|| unreachable("not an HTTP answer".into()))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(unreachable(head.lines().next().unwrap_or_default().into()));
    }
    serde_json::from_slice(body)
        .map_err(|e| Failure::Problem(format!("the agent is of another version: {e}")))
}

/// One request for each connection; the agent closes it after the answer, whose length is therefore known.
fn exchange(socket: &std::path::Path, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shunt\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]))
}
