//! `shunt service list`.

use super::output::Output;
use super::{Common, Done, client};
use shunt_model::{BackendView, FrontendView, ServiceView, Status};
use std::net::IpAddr;

/// Subcommands.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// List every frontend with its backends
    List(Output),
}

pub(super) fn run(command: &Command, common: &Common) -> Done {
    let Command::List(output) = command;
    let services: Vec<ServiceView> = client::get(common, "/v1/services")?;
    output.print(&services, || (vec!["ID", "Frontend", "Service Type", "Backend"], rows(&services)))
}

fn rows(services: &[ServiceView]) -> Vec<Vec<String>> {
    let mut frontends: Vec<&FrontendView> = services.iter().flat_map(|s| &s.frontends).collect();
    frontends.sort_by_key(|f| (f.id, f.address, f.port, f.protocol.clone()));
    frontends.into_iter().flat_map(of_frontend).collect()
}

/// A frontend's line and one more for each further backend; the internal scope apart where it differs.
fn of_frontend(frontend: &FrontendView) -> Vec<Vec<String>> {
    let scopes = [("", Some(&frontend.external)), ("/i", frontend.internal.as_ref())];
    let mut rows = Vec::new();
    for (suffix, backends) in scopes.into_iter().filter_map(|(s, b)| Some((s, b?))) {
        let name = socket(frontend.address, frontend.port, &frontend.protocol) + suffix;
        let first = vec![frontend.id.to_string(), name, frontend.kind.clone()];
        let mut said: Vec<String> = backends.iter().zip(1..).map(|(b, n)| of_backend(b, n)).collect();
        match &frontend.status {
            Status::Done => {}
            Status::Pending => said.push("(pending)".into()),
            Status::Error(error) => said.push(format!("(error: {error})")),
        }
        let mut said = said.into_iter();
        rows.push(first.into_iter().chain([said.next().unwrap_or_default()]).collect());
        rows.extend(said.map(|text| vec![String::new(), String::new(), String::new(), text]));
    }
    rows
}

fn of_backend(backend: &BackendView, number: usize) -> String {
    let address = socket(backend.address, backend.port, &backend.protocol);
    format!("{number} => {address} ({})", backend.state)
}

/// `10.0.0.1:80/TCP`, `[fd00::1]:53/UDP`.
pub(super) fn socket(address: IpAddr, port: u16, protocol: &str) -> String {
    format!("{}/{protocol}", std::net::SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::columns;

    fn backend(address: &str, state: &str) -> BackendView {
        let address = address.parse().unwrap();
        BackendView { id: 1, address, port: 53, protocol: "UDP".into(), state: state.into(), local: false }
    }

    #[test]
    fn each_backend_has_a_line_and_ipv6_has_brackets() {
        let frontend = |id, address: &str, kind: &str, backends| FrontendView {
            id,
            address: address.parse().unwrap(),
            port: 53,
            protocol: "UDP".into(),
            kind: kind.into(),
            port_name: String::new(),
            status: Status::Done,
            external: backends,
            internal: None,
        };
        let two = vec![backend("10.244.1.42", "active"), backend("10.244.0.17", "terminating")];
        let service = ServiceView {
            namespace: "kube-system".into(),
            name: "dns".into(),
            frontends: vec![
                frontend(2, "fd00::a", "NodePort", vec![]),
                frontend(1, "10.96.0.10", "ClusterIP", two),
            ],
            problems: Vec::new(),
        };
        assert_eq!(
            columns(&rows(&[service])),
            "1   10.96.0.10:53/UDP   ClusterIP   1 => 10.244.1.42:53/UDP (active)\n\
             \x20                                   2 => 10.244.0.17:53/UDP (terminating)\n\
             2   [fd00::a]:53/UDP    NodePort\n"
        );
    }
}
