//! SCTP's checksum after a change of its ports, without reading the packet.
//!
//! SCTP sums its whole packet with CRC32c (RFC 9260 6.8, Appendix A). A CRC is linear: two packets that differ in their
//! first word only have sums that differ by that word's difference, moved through as many octets as the packet has.
//! Moving by 2^k octets is a matrix of 32 x 32 bits, so a packet of any length takes sixteen of them.

/// The polynomial of CRC32c, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Powers of two that make up a length of at most 65,535 octets.
pub const POWERS: usize = 16;

type Matrix = [u32; 32];

const fn times(matrix: &Matrix, vector: u32) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i < 32 {
        sum ^= matrix[i] & 0u32.wrapping_sub(vector >> i & 1);
        i += 1;
    }
    sum
}

const fn square(matrix: &Matrix) -> Matrix {
    let mut result = [0; 32];
    let mut i = 0;
    while i < 32 {
        result[i] = times(matrix, matrix[i]);
        i += 1;
    }
    result
}

/// `SHIFTS[k]` moves a CRC register through 2^k octets of zeros.
pub static SHIFTS: [Matrix; POWERS] = shifts();

const fn shifts() -> [Matrix; POWERS] {
    let mut bit = [0; 32];
    bit[0] = POLYNOMIAL;
    let mut i = 1;
    while i < 32 {
        bit[i] = 1 << (i - 1);
        i += 1;
    }
    let mut shifts = [[0; 32]; POWERS];
    shifts[0] = square(&square(&square(&bit)));
    let mut k = 1;
    while k < POWERS {
        shifts[k] = square(&shifts[k - 1]);
        k += 1;
    }
    shifts
}

/// The change of the checksum of an SCTP packet of `len` octets whose two ports, as a word in the memory of a
/// little-endian machine, changed by `change` (old ^ new), after the first `k` of [`POWERS`] steps were made on it. The
/// last step leaves what the checksum, which stands in the packet in that order too, is to be xored with.
#[inline(always)]
pub fn step(k: usize, len: u32, change: u32) -> u32 {
    let moved = times(&SHIFTS[k & (POWERS - 1)], change);
    // Without a branch: the verifier would follow both sides sixteen times over.
    let wanted = 0u32.wrapping_sub(len >> k & 1);
    moved & wanted | change & !wanted
}

#[cfg(test)]
mod tests {
    use super::{POLYNOMIAL, POWERS, step};

    fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ POLYNOMIAL & 0u32.wrapping_sub(crc & 1);
            }
        }
        !crc
    }

    #[test]
    fn the_reference_sums_as_rfc_3720_says() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_updated_sum_is_the_sum_of_the_changed_packet() {
        for len in [12usize, 13, 16, 100, 1499, 1500, 9000, 65_515] {
            let mut packet: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            packet[8..12].fill(0);
            let word = |p: &[u8]| u32::from_le_bytes([p[0], p[1], p[2], p[3]]);
            let (sum, old) = (crc32c(&packet), word(&packet));
            packet[..4].copy_from_slice(&[0x9c, 0x40, 0x1f, 0x90]);
            let change = (0..POWERS).fold(old ^ word(&packet), |change, k| step(k, len as u32, change));
            assert_eq!(sum ^ change, crc32c(&packet), "{len} octets");
        }
    }
}
