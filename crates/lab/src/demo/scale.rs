//! A service is scaled down and up while clients go on asking: nobody may notice.

use super::rows::cluster_ip;
use crate::api::Kind;
use crate::cluster::{Lab, background, finish};
use crate::probe::Tries;
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;

/// Pods that leave the service and come back; their servers go on, as pods do while they terminate.
const LEAVING: [(usize, usize); 3] = [(1, 2), (2, 1), (3, 2)];
const PAUSE: Duration = Duration::from_millis(700);

/// Scales, and prints what the clients saw; the number of tries that failed.
pub fn run(lab: &Lab) -> Result<usize> {
    println!("\nScaling the service `web` down and up, twice, while clients go on asking:");
    let node = |i: usize, v6| SocketAddr::new(lab.nodes[i].addresses.of(v6), 30080).to_string();
    let outside = ["repeat".to_owned(), node(0, false), node(1, false), node(0, true), node(2, true)];
    let web = |v6| Ok::<_, anyhow::Error>(SocketAddr::new(cluster_ip(lab, "web", v6)?, 80).to_string());
    let inside = ["repeat".to_owned(), web(false)?, web(true)?];
    let clients = [
        ("client outside, to NodePorts", background(&lab.client, &outside)?),
        ("pod, to the ClusterIP", background(&lab.nodes[0].pods[0].place, &inside)?),
    ];
    for _ in 0..2 {
        std::thread::sleep(PAUSE);
        for (node, i) in LEAVING {
            let gone = lab.api().delete(Kind::Pod, "default", &format!("pod{node}-{i}"));
            gone.map_err(|e| anyhow::anyhow!("scaling down: {e:?}"))?;
        }
        lab.settle()?;
        std::thread::sleep(PAUSE);
        for (node, i) in LEAVING {
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
