//! Flows end when both directions are silent, in pairs, on a real table.

use crate::support::{Node, Rows, backend, flow};
use shunt_common::seen::{ACK, FIN, SYN};
use shunt_common::{Config, Proto, flow_flag};
use shunt_datapath::expire::Step;
use shunt_datapath::testrun::TestRun;
use shunt_datapath::{Clock, Lifetimes};
use shunt_model::Departed;
use shunt_model::store::{BackendRow, MapStore, Op};

const OPEN: (u8, u8) = (SYN | ACK, SYN | ACK);

fn load(node: &Node) -> (TestRun, Clock) {
    let settings = node.settings();
    let config = Config { hz: 0, ..TestRun::config(&settings) };
    let run = TestRun::load(&config, &settings.sizes).unwrap();
    let clock = run.clock().unwrap();
    (run, clock)
}

fn put(run: &TestRun, rows: &Rows) {
    let table = run.flows4().unwrap();
    for (key, value) in rows {
        table.set(key, value).unwrap();
    }
}

fn left(run: &TestRun) -> usize {
    run.flows4().unwrap().entries().unwrap().len()
}

#[test]
fn only_what_is_over_goes_and_in_pairs() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let now = clock.now().unwrap();
    let ago = |seconds: u32| now.wrapping_sub(seconds * clock.hz());
    put(&run, &flow(1001, Proto::Tcp, 1, ago(9000), OPEN));
    put(&run, &flow(1002, Proto::Tcp, 1, ago(100), OPEN));
    put(&run, &flow(1003, Proto::Tcp, 1, ago(100), (SYN, 0)));
    put(&run, &flow(1004, Proto::Tcp, 1, ago(20), (OPEN.0 | FIN, OPEN.1 | FIN)));
    // One direction silent, the other not.
    let mut half = flow(1005, Proto::Tcp, 1, ago(9000), OPEN);
    half[1].1.stamp = ago(1);
    put(&run, &half);
    let step = run.expirer(Lifetimes::default()).unwrap().pass().unwrap();
    assert_eq!(
        step,
        Step { visited: 10, expired: 3, orphans: 0, backend_gone: 0, passes: 2, took: step.took }
    );
    let mut ports: Vec<u16> =
        run.flows4().unwrap().entries().unwrap().iter().map(|(k, _)| client_port(k)).collect();
    ports.sort();
    assert_eq!(ports, [1002, 1002, 1005, 1005]);
}

fn client_port(key: &shunt_common::FlowKey<shunt_common::Ip4>) -> u16 {
    if key.dport.host() == 80 { key.sport.host() } else { key.dport.host() }
}

#[test]
fn a_silent_half_without_its_partner_is_removed_and_counted_and_a_fresh_one_left() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let now = clock.now().unwrap();
    let table = run.flows4().unwrap();
    let old = flow(2001, Proto::Tcp, 1, now.wrapping_sub(9000 * clock.hz()), OPEN);
    let fresh = flow(2002, Proto::Tcp, 1, now, (SYN, 0));
    table.set(&old[1].0, &old[1].1).unwrap();
    table.set(&fresh[1].0, &fresh[1].1).unwrap();
    let step = run.expirer(Lifetimes::default()).unwrap().pass().unwrap();
    assert_eq!((step.orphans, step.expired, left(&run)), (1, 0, 1));
}

#[test]
fn udp_flows_of_a_backend_that_is_gone_end_at_once_and_tcp_flows_do_not() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let now = clock.now().unwrap();
    let mut store = run.store().unwrap();
    // Backend 1 stays, 2 was never there, 3 is another's by now.
    store.apply(&Op::PutBackend { id: 1, row: BackendRow::V4(backend(1)) }).unwrap();
    store.apply(&Op::PutBackend { id: 3, row: BackendRow::V4(backend(77)) }).unwrap();
    for (port, backend) in [(3001, 1), (3002, 2), (3003, 3)] {
        put(&run, &flow(port, Proto::Udp, backend, now, (ACK, ACK)));
    }
    put(&run, &flow(3004, Proto::Tcp, 2, now, OPEN));
    // A local socket that was moved off a port has no backend at all.
    let mut moved = flow(3005, Proto::Udp, 2, now, (ACK, ACK));
    for (_, row) in &mut moved {
        (row.flags, row.backend) = (row.flags | flow_flag::LOCAL_SOCKET, 0);
    }
    put(&run, &moved);
    let step = run.expirer(Lifetimes::default()).unwrap().pass().unwrap();
    assert_eq!((step.backend_gone, step.expired, step.orphans), (2, 0, 0));
    assert_eq!(left(&run), 6);
}

#[test]
fn a_silent_row_whose_partner_is_another_flows_goes_alone() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let now = clock.now().unwrap();
    let silent = flow(4001, Proto::Tcp, 1, now.wrapping_sub(9000 * clock.hz()), OPEN);
    // The reply tuple of the silent flow was given to another client port.
    let mut other = flow(4002, Proto::Tcp, 1, now, OPEN);
    (other[0].1.sport, other[1].0) = (silent[0].1.sport, silent[1].0);
    put(&run, &other);
    run.flows4().unwrap().set(&silent[0].0, &silent[0].1).unwrap();
    let step = run.expirer(Lifetimes::default()).unwrap().pass().unwrap();
    assert_eq!((step.orphans, step.expired, left(&run)), (1, 0, 2));
    assert_eq!(run.flows4().unwrap().get(&other[1].0).unwrap(), Some(other[1].1));
}

#[test]
fn steps_are_bounded_and_paced_and_together_see_everything() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let old = clock.now().unwrap().wrapping_sub(100 * clock.hz());
    for port in 1..=4000 {
        put(&run, &flow(port, Proto::Tcp, 1, old, (SYN, 0)));
    }
    let mut expirer = run.expirer(Lifetimes::default()).unwrap();
    let ([first, six], wait) = expirer.step().unwrap();
    let first = first.unwrap();
    assert!(first.took > std::time::Duration::ZERO, "{first:?}");
    assert_eq!(six.map(|six| (six.visited, six.passes)), Some((0, 1)), "the other family is told apart");
    assert!(first.visited <= 4096, "{first:?}");
    assert!(first.expired > 1000, "{first:?}");
    assert!(wait > std::time::Duration::from_secs(1), "a nearly full pass is paced: {wait:?}");
    assert_eq!(expirer.step().unwrap().0, [None; 2], "nothing is due yet");
    let rest = expirer.pass().unwrap();
    assert_eq!(first.expired + rest.expired, 4000);
    assert_eq!((first.orphans + rest.orphans, left(&run)), (0, 0));
}

#[test]
fn udp_flows_of_a_service_that_lost_a_backend_end_and_those_of_others_do_not() {
    let node = Node::new();
    let (run, clock) = load(&node);
    let now = clock.now().unwrap();
    let row = BackendRow::V4(backend(1));
    run.store().unwrap().apply(&Op::PutBackend { id: 1, row }).unwrap();
    put(&run, &flow(6001, Proto::Udp, 1, now, (ACK, ACK)));
    put(&run, &flow(6002, Proto::Tcp, 1, now, OPEN));
    let mut others = flow(6003, Proto::Udp, 1, now, (ACK, ACK));
    others.iter_mut().for_each(|(_, row)| row.service = 2);
    put(&run, &others);
    let mut expirer = run.expirer(Lifetimes::default()).unwrap();
    assert_eq!(expirer.step().unwrap().0.map(|step| step.unwrap().backend_gone), [0, 0]);
    let (_, wait) = expirer.step().unwrap();
    assert!(wait > std::time::Duration::from_secs(1), "nothing is urgent: {wait:?}");
    let mut gone = Departed { service: Some(1), id: 1, backend: row };
    // The datagrams' backend is of another protocol than the connections'.
    if let BackendRow::V4(row) = &mut gone.backend {
        row.proto = Proto::Udp as u8;
    }
    expirer.end_departed(&[gone]);
    let ([step, _], _) = expirer.step().unwrap();
    assert_eq!((step.unwrap().backend_gone, left(&run)), (1, 4));
    // What comes later is another matter: the service may have the backend again.
    put(&run, &flow(6001, Proto::Udp, 1, now, (ACK, ACK)));
    assert_eq!(expirer.pass().unwrap().backend_gone, 0);
}
