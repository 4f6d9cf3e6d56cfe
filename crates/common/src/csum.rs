//! Ones'-complement sums (RFC 1071) and their incremental update (RFC 1624, equation 3).
//!
//! A *sum* is an unfolded 32-bit ones'-complement sum of 32-bit words, as the kernel's `__wsum`. Byte order does not
//! matter as long as every word comes from memory in network order (RFC 1071 section 2B).

/// Adds with end-around carry.
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    let s = a.wrapping_add(b);
    s.wrapping_add((s < a) as u32)
}

/// Folds a sum to 16 bits, not complemented.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let s = (sum & 0xffff) + (sum >> 16);
    ((s & 0xffff) + (s >> 16)) as u16
}

/// What replacing one word by another adds to a sum.
#[inline(always)]
pub const fn delta(old: u32, new: u32) -> u32 {
    add(new, !old)
}

/// What replacing the words of `old` by those of `new` (same length) adds to a sum.
#[inline(always)]
pub fn delta_words(old: &[u32], new: &[u32]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i < old.len() && i < new.len() {
        sum = add(sum, delta(old[i], new[i]));
        i += 1;
    }
    sum
}

/// The checksum field after the covered words changed by `delta`. Both fields as they stand in the packet.
#[inline(always)]
pub const fn update(field: u16, delta: u32) -> u16 {
    !fold(add((!field) as u32, delta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(words: &[u32]) -> u16 {
        !fold(words.iter().fold(0, |s, w| add(s, *w)))
    }

    proptest! {
        #[test]
        fn incremental_equals_full(mut words in prop::collection::vec(any::<u32>(), 4..20), new in any::<[u32; 4]>()) {
            // A header whose every bit is zero does not exist, and its two zeros (0 and 0xffff) would differ.
            words.push(0x4500_0001);
            let before = full(&words);
            let old = [words[0], words[1], words[2], words[3]];
            words[..4].copy_from_slice(&new);
            prop_assert_eq!(update(before, delta_words(&old, &new)), full(&words));
        }

        #[test]
        fn rewriting_and_back_is_identity(field in any::<u16>(), old in any::<[u32; 4]>(), new in any::<[u32; 4]>()) {
            let there = update(field, delta_words(&old, &new));
            let back = update(there, delta_words(&new, &old));
            // 0 and 0xffff are the same number in ones' complement.
            let same = |a: u16| if a == 0xffff { 0 } else { a };
            prop_assert_eq!(same(back), same(field));
        }
    }
}
