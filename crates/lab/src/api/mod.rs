//! The lab's Kubernetes API: in this process, over plain HTTP, for the real `kubectl`, for agents and for tests.
//!
//! [`Api::start`] makes it with its own thread, [`Api::serve`] answers on a listener made in any network namespace, and a
//! [`Handle`] reads, writes and breaks it without HTTP.
//!
//! Objects are kept as their JSON text, which every list and watch shares. Watches replay a bounded past per kind; what
//! falls out of it is answered by 410, as in a real cluster.

mod admit;
mod alloc;
mod balancer;
mod crud;
mod endpoints;
mod error;
mod faults;
mod handle;
mod history;
mod kinds;
mod kubernetes;
mod object;
mod options;
mod patch;
mod random;
mod selectors;
mod serve;
mod service_families;
mod service_ports;
mod services;
mod shared;
mod slice_rules;
mod slices;
mod store;
mod table;
mod time;

pub use crud::{DeleteOptions, Target};
pub use error::{ApiError, Cause, Result};
pub use handle::Handle;
pub use history::Window;
pub use kinds::{KINDS, Kind, KindInfo};
pub use options::Options;
pub use patch::PatchType;

use shared::Shared;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

/// A running API. Dropping it closes every listener and connection and ends its threads.
#[derive(Debug)]
pub struct Api {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    version: (u32, u32),
    threads: Vec<JoinHandle<()>>,
}

impl Api {
    /// Makes an API with the default namespaces and `default/kubernetes`, and starts its controllers.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&options));
        let mut threads = Vec::new();
        if options.slices {
            threads.push(slices::start(shared.clone())?);
        }
        if !options.load_balancer_cidrs.is_empty() {
            threads.push(balancer::start(shared.clone(), options.load_balancer_cidrs.clone())?);
        }
        kubernetes::populate(&shared, &options);
        let (runtime, thread) = start_runtime(shared.clone())?;
        threads.push(thread);
        Ok(Self { shared, runtime, version: options.version, threads })
    }

    /// Answers on `listener`, in addition to any others. The socket stays in the network namespace it was made in.
    ///
    /// # Errors
    /// When the socket cannot be switched to non-blocking mode or has no address.
    pub fn serve(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        self.runtime.spawn(serve::listen(self.shared.clone(), listener, self.version));
        Ok(address)
    }

    /// A handle that works without HTTP, from any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.end_controllers();
        self.shared.faults.send_modify(|f| f.closed = true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add while dropping.
            let _ = thread.join();
        }
    }
}

/// A thread with a runtime for all connections; it ends when the API is closed.
fn start_runtime(shared: Arc<Shared>) -> io::Result<(tokio::runtime::Handle, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(sender.send(Err(error))),
        };
        if sender.send(Ok(runtime.handle().clone())).is_err() {
            return;
        }
        let mut faults = shared.faults.subscribe();
        // The sender lives in `shared`, which we hold, so this only ends on a close.
        let _ = runtime.block_on(faults.wait_for(|f| f.closed));
    };
    let thread = thread::Builder::new().name("lab-api".into()).spawn(body)?;
    let handle =
        receiver.recv().map_err(|_| io::Error::other("the API's thread ended before it started"))??;
    Ok((handle, thread))
}
