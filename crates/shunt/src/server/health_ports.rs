//! The servers that load balancers ask whether this node has endpoints of a service: one for each service with a
//! `healthCheckNodePort`, on every address of its families where NodePorts answer (`pkg/proxy/healthcheck/service_health.go`).

use super::health::HEADERS;
use super::limited::Limited;
use super::{Condition, tcp};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use shunt_model::objects::Kind;
use shunt_model::snapshot::ServiceName;
use shunt_model::store::Family;
use shunt_model::{HealthCheck, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How many of the service's endpoints this node has, as a weight for the load balancer.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");
/// A port that another of our servers has just let go of is free a moment later.
const SOON: Duration = Duration::from_millis(200);

/// A port that is taken: which service and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clash {
    /// `namespace/name`.
    pub service: ServiceName,
    /// Where it cannot be listened.
    pub at: SocketAddr,
    /// What the kernel says.
    pub error: String,
}

/// All servers. Dropping it stops them.
pub struct HealthPorts {
    shared: Shared,
    addresses: BTreeSet<IpAddr>,
    servers: BTreeMap<ServiceName, Server>,
}

#[derive(Clone)]
struct Shared {
    condition: watch::Receiver<Condition>,
    clashes: Arc<Mutex<BTreeMap<SocketAddr, Clash>>>,
    /// Told once for each clash.
    tell: mpsc::UnboundedSender<Clash>,
    retry: Duration,
}

struct Server {
    port: u16,
    /// By family.
    local_endpoints: watch::Sender<[Option<usize>; 2]>,
    /// A listener stops when its sender is dropped.
    listeners: BTreeMap<IpAddr, oneshot::Sender<()>>,
}

impl HealthPorts {
    /// None yet. Clashes are told through `tell`, and listed by [`Self::problems`] for as long as they last.
    #[must_use]
    pub fn new(condition: watch::Receiver<Condition>, tell: mpsc::UnboundedSender<Clash>) -> Self {
        let shared = Shared { condition, clashes: Arc::default(), tell, retry: tcp::RETRY };
        Self { shared, addresses: BTreeSet::new(), servers: BTreeMap::new() }
    }

    /// Starts, changes or (`None`) stops the servers of a service.
    pub fn set(&mut self, name: &ServiceName, check: Option<HealthCheck>) {
        let Some(check) = check else {
            self.servers.remove(name);
            return;
        };
        match self.servers.get_mut(name).filter(|s| s.port == check.port) {
            Some(server) => {
                server.local_endpoints.send_replace(check.local_endpoints);
                server.listen(name, &self.addresses, &self.shared);
            }
            None => {
                // First the old port, which may be another service's new one.
                self.servers.remove(name);
                let (local_endpoints, _) = watch::channel(check.local_endpoints);
                let mut server = Server { port: check.port, local_endpoints, listeners: BTreeMap::new() };
                server.listen(name, &self.addresses, &self.shared);
                self.servers.insert(name.clone(), server);
            }
        }
    }

    /// Where the servers answer from now on.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) {
        let same = addresses.len() == self.addresses.len();
        if same && addresses.iter().all(|a| self.addresses.contains(a)) {
            return;
        }
        self.addresses = addresses.iter().copied().collect();
        for (name, server) in &mut self.servers {
            server.listen(name, &self.addresses, &self.shared);
        }
    }

    /// The ports that are taken by others now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let clashes = self.shared.clashes.lock().unwrap_or_else(PoisonError::into_inner);
        clashes.values().map(Clash::problem).collect()
    }
}

impl Clash {
    /// As `status` lists it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (port, at, error) = (self.at.port(), self.at, &self.error);
        let what = format!("healthCheckNodePort {port}: cannot listen on {at}: {error}");
        let todo =
            "free the port on this node; it is tried again every 5 s, and the service is served meanwhile";
        Problem::new(Kind::Service, &self.service, what, todo)
    }
}

impl Server {
    fn listen(&mut self, name: &ServiceName, addresses: &BTreeSet<IpAddr>, shared: &Shared) {
        let counts = *self.local_endpoints.borrow();
        let serves = |address: &IpAddr| counts[Family::of(*address) as usize].is_some();
        self.listeners.retain(|address, _| addresses.contains(address) && serves(address));
        for address in addresses.iter().filter(|address| serves(address)) {
            self.listeners.entry(*address).or_insert_with(|| {
                let (sender, stop) = oneshot::channel();
                let answer = Answer {
                    service: name.clone(),
                    family: Family::of(*address),
                    local_endpoints: self.local_endpoints.subscribe(),
                    condition: shared.condition.clone(),
                };
                let at = SocketAddr::new(*address, self.port);
                tokio::spawn(serve(at, answer, shared.clone(), stop));
                sender
            });
        }
    }
}

/// Listens until it is stopped. A port that is taken spoils nothing else and is tried again.
async fn serve(at: SocketAddr, answer: Answer, shared: Shared, mut stop: oneshot::Receiver<()>) {
    let service = answer.service.clone();
    let router = Router::new().fallback(health_check).with_state(answer);
    let mut wait = SOON;
    let mut clash = Clashing { at, shared: &shared, told: None };
    loop {
        match tokio::net::TcpListener::bind(at).await {
            Ok(listener) => {
                clash.over();
                let serving = axum::serve(Limited::new(listener), router);
                // A connection that is kept open must not go on answering for a service that is gone.
                _ = serving.with_graceful_shutdown(async { _ = stop.await }).await;
                return;
            }
            Err(_) if wait == SOON => {}
            Err(error) => clash.tell(Clash { service: service.clone(), at, error: error.to_string() }),
        }
        tokio::select! {
            _ = &mut stop => return,
            () = tokio::time::sleep(wait) => wait = shared.retry,
        }
    }
}

/// A clash is listed for as long as its listener tries.
struct Clashing<'a> {
    at: SocketAddr,
    shared: &'a Shared,
    told: Option<Clash>,
}

impl Clashing<'_> {
    fn tell(&mut self, clash: Clash) {
        if self.told.as_ref() != Some(&clash) {
            self.clashes().insert(self.at, clash.clone());
            _ = self.shared.tell.send(clash.clone());
            self.told = Some(clash);
        }
    }

    fn over(&mut self) {
        if self.told.take().is_some() {
            self.clashes().remove(&self.at);
            tracing::info!(at = %self.at, "health checks of a service are answered now");
        }
    }

    fn clashes(&self) -> std::sync::MutexGuard<'_, BTreeMap<SocketAddr, Clash>> {
        self.shared.clashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Clashing<'_> {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.clashes().remove(&self.at);
        }
    }
}

#[derive(Clone)]
struct Answer {
    service: ServiceName,
    family: Family,
    local_endpoints: watch::Receiver<[Option<usize>; 2]>,
    condition: watch::Receiver<Condition>,
}

/// Any path, any method. Terminating endpoints do not count, and neither does what the Node object says.
async fn health_check(State(answer): State<Answer>) -> impl IntoResponse {
    let count = answer.local_endpoints.borrow()[answer.family as usize].unwrap_or(0);
    let healthy = answer.condition.borrow().healthy(Instant::now());
    let good = count > 0 && healthy;
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, HEADERS, [(WEIGHT, count.to_string())], body(&answer.service, count, healthy))
}

/// kube-proxy's JSON with its tabs.
fn body(service: &str, count: usize, healthy: bool) -> String {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    )
}

#[cfg(test)]
#[path = "health_ports_tests.rs"]
mod tests;
