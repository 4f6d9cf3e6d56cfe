//! The choice of SNAT ports.

/// How many ports are tried for a new flow before it is dropped as [`crate::Reason::SnatExhausted`].
pub const TRIES: u32 = 16;

/// The port to try at one attempt, host order.
///
/// The client's own port first when it lies in the range (so that most flows need one try), then a start that
/// `random` gives, then its successors, wrapping inside `min..=max`. `min` must not exceed `max`.
#[inline(always)]
pub const fn candidate(client: u16, random: u32, attempt: u32, min: u16, max: u16) -> u16 {
    if attempt == 0 && client >= min && client <= max {
        return client;
    }
    let span = (max - min) as u32 + 1;
    // Multiply-shift instead of a modulo: the verifier can bound it.
    let start = (((random & 0xffff) * span) >> 16) + attempt;
    let wrapped = if start >= span { start - span } else { start };
    min + wrapped as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_candidate_lies_in_the_range(client: u16, random: u32, attempt in 0..TRIES, a: u16, b: u16) {
            let (min, max) = if a < b { (a, b) } else { (b, a) };
            prop_assume!(max - min >= TRIES as u16);
            let port = candidate(client, random, attempt, min, max);
            prop_assert!(port >= min && port <= max);
        }

        #[test]
        fn attempts_do_not_repeat(client: u16, random: u32) {
            let tried: std::collections::HashSet<u16> =
                (1..TRIES).map(|i| candidate(client, random, i, 32768, 65535)).collect();
            prop_assert_eq!(tried.len() as u32, TRIES - 1);
        }
    }
}
