//! Where nodes and pods are, listed once: for `shunt check`.

use super::object::{Nodes, Slices, Watched};
use kube::Client;
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// As many objects of a kind are looked at; the check needs a sample.
const SAMPLE: u32 = 500;

/// Addresses by the names of nodes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Places {
    /// The InternalIPs of each node.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
    /// An endpoint on each node, of each family; none of the node's own addresses.
    pub pods: BTreeMap<String, Vec<IpAddr>>,
}

/// Lists a sample of nodes and endpoints.
///
/// # Errors
/// What the API server says, or why it cannot be reached.
pub async fn places(client: Client) -> Result<Places, String> {
    let sample = ListParams::default().limit(SAMPLE);
    let failed = |e: kube::Error| e.to_string();
    let nodes = Api::<Watched<Nodes>>::all(client.clone()).list(&sample).await.map_err(failed)?;
    let slices = Api::<Watched<Slices>>::all(client).list(&sample).await.map_err(failed)?;
    let mut places = Places::default();
    for node in nodes.items.into_iter().filter_map(|node| node.body.ok()) {
        let node = node.inner();
        let all = node.status.addresses.into_iter().flatten().filter(|a| a.type_ == "InternalIP");
        places.nodes.insert(node.metadata.name, all.filter_map(|a| a.address.parse().ok()).collect());
    }
    for slice in slices.items.into_iter().filter_map(|slice| slice.body.ok()) {
        for endpoint in slice.inner().endpoints.into_iter().flatten() {
            let (Some(node), Some(addr)) = (endpoint.node_name, endpoint.addresses.first()) else { continue };
            let Ok(addr) = addr.parse::<IpAddr>() else { continue };
            if places.nodes.values().flatten().any(|own| *own == addr) {
                continue;
            }
            let pods = places.pods.entry(node).or_default();
            if pods.iter().all(|known| known.is_ipv4() != addr.is_ipv4()) {
                pods.push(addr);
            }
        }
    }
    Ok(places)
}
