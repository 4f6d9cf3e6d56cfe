//! HTTP: listeners, connections, and the way of a request to its verb.

mod answer;
mod body;
mod discovery;
mod list;
mod openapi;
mod openapi_v2;
mod request;
mod verbs;
mod watch;

use super::{
    faults::{FaultState, until},
    shared::Shared,
};
use answer::Answer;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::watch::Receiver};

/// Accepts on `listener` until the API is closed; while it is stopped nothing listens.
pub async fn listen(shared: Arc<Shared>, listener: TcpListener, version: (u32, u32)) {
    let mut faults = shared.faults.subscribe();
    loop {
        until(&mut faults, |f| f.closed || !f.stopped).await;
        if faults.borrow().closed {
            return;
        }
        if let Err(error) = accept(&shared, &listener, version, &mut faults).await {
            tracing::error!(%error, "the lab's API no longer listens");
            return;
        }
    }
}

/// Accepts until stopped or closed, then stops listening but keeps the address bound.
async fn accept(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    version: (u32, u32),
    faults: &mut Receiver<FaultState>,
) -> io::Result<()> {
    let socket = socket2::SockRef::from(listener);
    let address = listener.local_addr()?;
    // After a shutdown this makes it a listener again; on a listener it changes nothing.
    socket.listen(1024)?;
    let accepting = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
    loop {
        tokio::select! {
            accepted = accepting.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(connection(shared.clone(), stream, version))),
                // Out of descriptors, or the peer gave up: neither is a reason to end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            () = until(faults, |f| f.closed || f.stopped) => break,
        }
    }
    socket.shutdown(std::net::Shutdown::Both)?;
    // The kernel takes back a port that it had chosen itself (port 0 at the bind), so ask for that very one again. A port
    // that was asked for stays bound, and the second bind is refused as invalid.
    match socket.bind(&address.into()) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, version: (u32, u32)) {
    let mut faults = shared.faults.subscribe();
    let seen = faults.borrow_and_update().cut;
    // Small watch events must not wait for the peer's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(shared.clone(), request, version));
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A peer that goes away in the middle of an answer is its own business.
        _ = serving => {}
        () = until(&mut faults, |f| f.closed || f.cut != seen) => {}
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    version: (u32, u32),
) -> Result<Answer, Infallible> {
    let delay = shared.faults.borrow().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let (head, incoming) = request.into_parts();
    let answered = match body::read(&head, incoming).await {
        Ok(body) => verbs::dispatch(&shared, &head, body, version),
        Err(error) => Err(error),
    };
    Ok(answered.unwrap_or_else(|error| answer::failure(&error)))
}
