//! Serves an empty cluster's API for `kubectl --server`: `cargo run --example api -- 127.0.0.1:8001`.

use shunt_lab::api::{Api, Options};
use std::{io, net::TcpListener, thread};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".into());
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr()?;
    let load_balancer_cidrs = vec!["192.0.2.0/24".parse().expect("a literal network")];
    let advertise = Some((vec![local.ip()], local.port()));
    let api = Api::start(Options { advertise, load_balancer_cidrs, ..Options::default() })?;
    println!("http://{}", api.serve(listener)?);
    loop {
        thread::park();
    }
}
