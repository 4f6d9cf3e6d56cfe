//! `shunt service list` and `shunt service get`.

use super::output::Output;
use super::{Common, Done, Failure, client};
use shunt_model::{BackendView, FrontendView, ServiceView, Status};
use std::net::IpAddr;

/// Subcommands.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// List every frontend with its backends
    List(Output),
    /// Show the frontends of one id, as `service list` has it in its first column
    Get {
        /// The id of a service's port
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        id: u32,
        #[command(flatten)]
        output: Output,
    },
}

const HEADINGS: [&str; 4] = ["ID", "Frontend", "Service Type", "Backend"];

pub(super) fn run(command: &Command, common: &Common) -> Done {
    let services: Vec<ServiceView> = client::get(common, "/v1/services")?;
    match command {
        Command::List(output) => output.print(&services, || (HEADINGS.to_vec(), rows(&services))),
        Command::Get { id, output } => {
            let found = by_id(services, *id).ok_or_else(|| {
                Failure::Problem(format!("no service has the id {id}; `shunt service list` shows them"))
            })?;
            output.print(&found, || (HEADINGS.to_vec(), rows(std::slice::from_ref(&found))))
        }
    }
}

/// The service that has an id, with the frontends of that alone.
fn by_id(services: Vec<ServiceView>, id: u32) -> Option<ServiceView> {
    let of_id = |mut service: ServiceView| {
        service.frontends.retain(|f| f.id == id);
        (!service.frontends.is_empty()).then_some(service)
    };
    services.into_iter().find_map(of_id)
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

    fn frontend(id: u32, address: &str, kind: &str, backends: Vec<BackendView>) -> FrontendView {
        FrontendView {
            id,
            address: address.parse().unwrap(),
            port: 53,
            protocol: "UDP".into(),
            kind: kind.into(),
            port_name: String::new(),
            status: Status::Done,
            external: backends,
            internal: None,
        }
    }

    fn service(name: &str, frontends: Vec<FrontendView>) -> ServiceView {
        ServiceView { namespace: "kube-system".into(), name: name.into(), frontends, problems: Vec::new() }
    }

    #[test]
    fn an_id_is_shown_with_its_frontends_and_without_those_of_the_services_other_ports() {
        let dns = service(
            "dns",
            vec![
                frontend(2, "10.96.0.10", "ClusterIP", vec![]),
                frontend(3, "10.96.0.10", "ClusterIP", vec![]),
                frontend(3, "192.0.2.1", "NodePort", vec![]),
            ],
        );
        let all = vec![service("web", vec![frontend(1, "10.96.0.1", "ClusterIP", vec![])]), dns.clone()];
        let found = by_id(all.clone(), 3).unwrap();
        assert_eq!((found.name.as_str(), &found.frontends[..]), ("dns", &dns.frontends[1..]));
        assert_eq!(by_id(all, 9), None);
    }

    #[test]
    fn each_backend_has_a_line_and_ipv6_has_brackets() {
        let two = vec![backend("10.244.1.42", "active"), backend("10.244.0.17", "terminating")];
        let service = service(
            "dns",
            vec![frontend(2, "fd00::a", "NodePort", vec![]), frontend(1, "10.96.0.10", "ClusterIP", two)],
        );
        assert_eq!(
            columns(&rows(&[service])),
            "1   10.96.0.10:53/UDP   ClusterIP   1 => 10.244.1.42:53/UDP (active)\n\
             \x20                                   2 => 10.244.0.17:53/UDP (terminating)\n\
             2   [fd00::a]:53/UDP    NodePort\n"
        );
    }
}
