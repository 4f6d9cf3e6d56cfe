//! What a client's real sockets see.

use crate::flow::Flow;
use shunt_common::Proto;
use shunt_lab::cluster::{http, repeat, repeat_udp, udp};
use shunt_lab::probe::Answer;
use std::collections::BTreeSet;
use std::fmt;

/// How often one is asked that answers: a fourth of four pods stays unseen once in thirty million times, and a stranger that
/// takes a fifth of the flows once in a million.
const TRIES: u32 = 60;
/// How often one is asked that says no at once.
const NOS: usize = 3;

/// What came back, over all tries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Answers from these pods, and nothing else.
    Pods(BTreeSet<String>),
    /// Somebody said no: a reset, an ICMP error, or the call itself.
    Refused,
    /// Nothing.
    Silent,
    /// EHOSTUNREACH.
    NoWay,
    /// EPERM.
    Denied,
    /// Anything else, or now this and now that.
    Other(String),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(pods) => write!(f, "{pods:?}"),
            Self::Other(what) => f.write_str(what),
            seen => write!(f, "{seen:?}"),
        }
    }
}

impl From<Answer> for Seen {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Refused => Self::Refused,
            Answer::Timeout => Self::Silent,
            Answer::Denied => Self::Denied,
            Answer::Other(text) if text.contains("No route to host") => Self::NoWay,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// Asks once, and then often enough to know.
pub fn observe(flow: &Flow) -> Seen {
    match once(flow) {
        Answer::Ok(_) => many(flow),
        Answer::Timeout => Seen::Silent,
        no => {
            let more: Vec<Answer> = (1..NOS).map(|_| once(flow)).collect();
            if more.iter().all(|answer| *answer == no) {
                no.into()
            } else {
                Seen::Other(format!("{no:?}, then {more:?}"))
            }
        }
    }
}

fn once(flow: &Flow) -> Answer {
    let place = &flow.from.as_ref().unwrap().place;
    match flow.proto {
        Proto::Udp => udp(place, flow.to, true).unwrap().answer,
        _ => http(place, flow.to, "/").unwrap(),
    }
}

fn many(flow: &Flow) -> Seen {
    let place = &flow.from.as_ref().unwrap().place;
    let tries = match flow.proto {
        Proto::Udp => repeat_udp(place, flow.to, TRIES),
        _ => repeat(place, flow.to, TRIES),
    };
    let tries = tries.unwrap();
    if let Some(first) = tries.failures.first() {
        return Seen::Other(format!("{} failures in {TRIES}, the first {first}", tries.failures.len()));
    }
    let name = |body: &String| body.split(' ').next().unwrap_or_default().to_owned();
    Seen::Pods(tries.bodies.keys().map(name).collect())
}
