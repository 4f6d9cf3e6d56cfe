//! A service is scaled down and up while clients go on asking: nobody may notice.

use super::rows::cluster_ip;
use crate::api::Kind;
use crate::cluster::{Lab, background, finish};
use crate::probe::Tries;
use crate::topology::Topology;
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(700);

/// Scales, and prints what the clients saw; the number of tries that failed.
pub fn run(lab: &Lab) -> Result<usize> {
    println!("\nScaling the service `web` down and up, twice, while clients go on asking:");
    let (mut outside, mut inside) = (vec!["repeat".to_owned()], vec!["repeat".to_owned()]);
    for v6 in lab.topology.families.each() {
        outside
            .extend(lab.nodes.iter().map(|node| SocketAddr::new(node.addresses.of(*v6), 30080).to_string()));
        inside.push(SocketAddr::new(cluster_ip(lab, "web", *v6)?, 80).to_string());
    }
    let clients = [
        ("client outside, to NodePorts", background(&lab.client, &outside)?),
        ("pod, to the ClusterIP", background(&lab.nodes[0].pods[0].place, &inside)?),
    ];
    for _ in 0..2 {
        std::thread::sleep(PAUSE);
        for (node, i) in leaving(lab) {
            let gone = lab.api().delete(Kind::Pod, "default", &format!("pod{node}-{i}"));
            gone.map_err(|e| anyhow::anyhow!("scaling down: {e:?}"))?;
        }
        lab.settle()?;
        std::thread::sleep(PAUSE);
        for (node, i) in leaving(lab) {
            lab.put_pod(node, i)?;
        }
        lab.settle()?;
    }
    let mut failed = 0;
    for (name, client) in clients {
        let tries: Tries = finish(client)?;
        println!("  {name}: {} connections, {} failed", tries.tries, tries.failures.len());
        for failure in tries.failures.iter().take(5) {
            println!("    {failure}");
        }
        failed += tries.failures.len();
    }
    Ok(failed)
}

/// Pods that leave the service and come back, one a node; their servers go on, as pods do while they terminate.
fn leaving(lab: &Lab) -> impl Iterator<Item = (usize, usize)> {
    let Topology { nodes, pods, .. } = lab.topology;
    (1..=nodes).map(move |node| (node, 1 + node % pods))
}
