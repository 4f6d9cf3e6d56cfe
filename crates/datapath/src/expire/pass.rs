//! One family's walk, paced by how full its table is.

use super::departed::Departed;
use super::judge::{self, Row, Verdict};
use super::lifetimes::Ticks;
use super::{STEP_ROWS, Step};
use crate::Error;
use crate::mapped::Mapped;
use crate::store::rows;
use crate::table::{Table, next_chunk};
use aya::Pod;
use shunt_common::{Addr, Backend, Flow, FlowKey, PortBe, Proto, flow_flag};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pass over an empty table takes this long, so that the shortest lifetimes still mean something.
const SLOWEST: Duration = Duration::from_secs(30);
/// A pass over a full table takes this long: room is needed.
const FASTEST: Duration = Duration::from_secs(5);
/// Between chunks while a client may be waiting for its flow to end: 130 chunks of a full table are over in a second and
/// a half, a few in no time.
const HURRY: Duration = Duration::from_millis(10);

/// The walk over one family's flows.
#[derive(Debug)]
pub(super) struct Pass<A> {
    flows: Table<FlowKey<A>, Flow<A>>,
    backends: Arc<Mapped>,
    departed: Departed,
    cursor: Option<u32>,
    /// Rows seen so far in this pass, and in the whole of the last one.
    rows: u64,
    last_rows: u64,
    next: Instant,
}

impl<A: Addr> Pass<A>
where
    FlowKey<A>: Pod + std::hash::Hash,
    Flow<A>: Pod,
    Backend<A>: rows::Row,
{
    pub(super) fn new(fd: OwnedFd, name: &'static str, backends: Arc<Mapped>) -> Result<Self, Error> {
        let flows = Table::new(fd, name)?;
        let departed = Departed::default();
        Ok(Self { flows, backends, departed, cursor: None, rows: 0, last_rows: 0, next: Instant::now() })
    }

    /// When the next step is due.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// One chunk; schedules the next.
    pub(super) fn step(&mut self, now: u32, rules: &Ticks, start: Instant) -> Result<Step, Error> {
        let step = self.chunk(now, rules)?;
        let usual = interval(self.rows.max(self.last_rows), self.flows.max_entries());
        self.next = start + if self.departed.is_empty() { usual } else { usual.min(HURRY) };
        Ok(step)
    }

    /// Ends the UDP flows of these services to these backends, by a pass that begins now.
    pub(super) fn end_departed(&mut self, pairs: impl Iterator<Item = (u32, u32)>) {
        if self.departed.add(pairs) {
            (self.cursor, self.rows, self.next) = (None, 0, Instant::now());
        }
    }

    /// A whole pass from the beginning.
    pub(super) fn whole(&mut self, now: u32, rules: &Ticks) -> Result<Step, Error> {
        (self.cursor, self.rows) = (None, 0);
        let mut done = Step::default();
        while done.passes == 0 {
            done += self.chunk(now, rules)?;
        }
        Ok(done)
    }

    fn chunk(&mut self, now: u32, rules: &Ticks) -> Result<Step, Error> {
        let begun = Instant::now();
        let reading = Error::system(format!("reading map {}", self.flows.name()));
        let (rows, over) = next_chunk(&self.flows, &mut self.cursor, STEP_ROWS).map_err(reading)?;
        let mut step = Step { visited: rows.len() as u64, ..Step::default() };
        // A partner in the same chunk must not be taken for an orphan once its flow is gone.
        let mut gone = HashSet::new();
        for (key, flow) in &rows {
            if !gone.contains(key) {
                self.row(key, flow, now, rules, &mut gone, &mut step)?;
            }
        }
        self.rows += step.visited;
        if over {
            (self.cursor, self.last_rows, self.rows) = (None, self.rows, 0);
            self.departed.passed();
            step.passes = 1;
        }
        step.took = begun.elapsed();
        Ok(step)
    }

    fn row(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        now: u32,
        rules: &Ticks,
        gone: &mut HashSet<FlowKey<A>>,
        step: &mut Step,
    ) -> Result<(), Error> {
        let row = Row::new(key.proto, flow);
        let ended = key.proto == Proto::Udp as u32
            && (self.departed.contains(flow.service, flow.backend) || self.backend_is_gone(key, flow));
        if !ended && !row.is_silent(now, rules) {
            return Ok(());
        }
        let partner_key = flow.partner(key);
        let reading = Error::system(format!("reading map {}", self.flows.name()));
        let partner = self.flows.get(&partner_key).map_err(reading)?;
        // Its tuple may be another flow's by now, which is none of this row's business.
        let partner = partner.filter(|p| p.partner(&partner_key) == *key).map(|p| Row::new(key.proto, &p));
        let verdict = judge::judge(&row, partner.as_ref(), now, rules);
        if verdict == Verdict::Orphan {
            step.orphans += u64::from(self.remove(key)?);
        } else if ended || (verdict == Verdict::Expired && self.is_unchanged(key, flow)?) {
            let count = if ended { &mut step.backend_gone } else { &mut step.expired };
            *count += u64::from(self.end(key, &partner_key, flow)?);
            gone.insert(partner_key);
        }
        Ok(())
    }

    /// Whether nothing has happened to a row since its chunk was read: a client that speaks again just now, perhaps with a new
    /// socket on an old port, would not be answered.
    fn is_unchanged(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, Error> {
        let reading = Error::system(format!("reading map {}", self.flows.name()));
        Ok(self.flows.get(key).map_err(reading)?.is_some_and(|now| now.stamp == flow.stamp))
    }

    /// Whether the row's backend id is unused or another's by now.
    fn backend_is_gone(&self, key: &FlowKey<A>, flow: &Flow<A>) -> bool {
        // These have no backend: they only moved a local socket off a port.
        if flow.flags & flow_flag::LOCAL_SOCKET != 0 {
            return false;
        }
        let (addr, port): (A, PortBe) = if flow.flags & flow_flag::REPLY != 0 {
            (key.src, key.sport)
        } else if flow.flags & flow_flag::DSR_END != 0 {
            (key.dst, key.dport)
        } else {
            (flow.dst, flow.dport)
        };
        let row = <Backend<A> as rows::Row>::read(&self.backends, flow.backend);
        row.is_none_or(|b| b.state == 0 || b.addr != addr || b.port != port)
    }

    /// Removes both rows of a flow, the forward row first: what remains for a moment translates nothing new.
    /// `false` when a program was faster.
    fn end(&self, key: &FlowKey<A>, partner: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, Error> {
        let (first, second) =
            if flow.flags & flow_flag::REPLY != 0 { (partner, key) } else { (key, partner) };
        let removed = self.remove(first)?;
        Ok(self.remove(second)? | removed)
    }

    fn remove(&self, key: &FlowKey<A>) -> Result<bool, Error> {
        self.flows.remove(key).map_err(Error::system(format!("removing from map {}", self.flows.name())))
    }
}

/// Time to the next chunk, for a table with this many rows of so many.
fn interval(rows: u64, max: u32) -> Duration {
    let fill = (rows as f64 / f64::from(max.max(1))).min(1.0);
    let period = SLOWEST - (SLOWEST - FASTEST).mul_f64(fill);
    let chunks = rows.div_ceil(u64::from(STEP_ROWS)).max(1);
    period.div_f64(chunks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_longer_when_the_table_is_emptier() {
        let whole = |rows: u64| interval(rows, 524_288) * rows.div_ceil(u64::from(STEP_ROWS)).max(1) as u32;
        assert_eq!(whole(0), SLOWEST);
        assert!(whole(262_144) > Duration::from_secs(17) && whole(262_144) < Duration::from_secs(18));
        assert!(whole(524_288).abs_diff(FASTEST) < Duration::from_millis(1));
        assert!(interval(524_288, 524_288) > Duration::from_millis(30), "each step leaves the CPU to others");
    }
}
