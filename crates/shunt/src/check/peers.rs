//! Who is asked: other nodes, and pods on them, as the API server tells or as they are named.

use super::Row;
use crate::agent::access;
use crate::config::Config;
use crate::server::rest_client_metrics::RestClient;
use crate::sources::kube;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Nodes that are asked; a network that treats more of them differently is rare.
const MOST: usize = 8;
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Another node. Of each family the addresses to ask, a pod's first: that is where the packets go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) v4: Vec<IpAddr>,
    pub(super) v6: Vec<IpAddr>,
}

/// What is known of the cluster.
#[derive(Default, Debug)]
pub(super) struct Found {
    pub(super) peers: Vec<Peer>,
    /// This node's own addresses.
    pub(super) own: Vec<IpAddr>,
    /// How the API server was.
    pub(super) row: Option<Row>,
}

/// Asks the API server, unless manifests stand in for it or addresses are named.
pub(super) async fn find(config: &Config, named: &[IpAddr]) -> Result<Found, Row> {
    let peers = named.iter().map(|addr| peer(addr.to_string(), [*addr].into_iter())).collect();
    if config.path("manifests").is_some() {
        return Ok(Found { peers, ..Found::default() });
    }
    let failed = |error: String| Row::fail("api-server", "", error, "see `kubeconfig` and `k8sServiceHost`");
    let client = kube::connect(&access(config), &RestClient::default()).await.map_err(failed)?;
    let asked = tokio::time::timeout(PATIENCE, kube::places(client)).await;
    let places = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    let places = places.map_err(failed)?;
    let row = Row::pass("api-server", "", format!("lists {} nodes", places.nodes.len()));
    let own = places.nodes.get(&config.node_name).cloned().unwrap_or_default();
    let peers = if named.is_empty() { others(&config.node_name, &places.nodes, &places.pods) } else { peers };
    Ok(Found { peers, own, row: Some(row) })
}

/// The nodes that are not this one, with one of their pods of each family.
fn others(
    own: &str,
    nodes: &BTreeMap<String, Vec<IpAddr>>,
    pods: &BTreeMap<String, Vec<IpAddr>>,
) -> Vec<Peer> {
    let others = nodes.iter().filter(|(name, _)| *name != own).take(MOST);
    let addresses = |name: &str| pods.get(name).into_iter().flatten().copied();
    others.map(|(name, own)| peer(name.clone(), addresses(name).chain(own.iter().copied()))).collect()
}

fn peer(name: String, addresses: impl Iterator<Item = IpAddr>) -> Peer {
    let (v4, v6) = addresses.partition(|addr: &IpAddr| addr.is_ipv4());
    Peer { name, v4, v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_are_asked_by_a_pod_of_theirs_first() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let nodes = [
            ("n1".to_owned(), vec![ip("192.0.2.1")]),
            ("n2".to_owned(), vec![ip("192.0.2.2"), ip("2001:db8::2")]),
        ];
        let pods = [("n2".to_owned(), vec![ip("10.0.2.7")]), ("n1".to_owned(), vec![ip("10.0.1.7")])];
        let found = others("n1", &nodes.clone().into(), &pods.into());
        let (v4, v6) = (vec![ip("10.0.2.7"), ip("192.0.2.2")], vec![ip("2001:db8::2")]);
        assert_eq!(found, [Peer { name: "n2".into(), v4, v6 }]);
        let many = (0..20).map(|i| (format!("m{i}"), vec![ip("192.0.2.9")])).collect();
        assert_eq!(others("n1", &many, &BTreeMap::new()).len(), MOST);
    }
}
