//! Long texts whose every byte is known, and what stands for them: their length and a digest.

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// As many characters as are printable, from `!` on, and make a prime: a piece that is lost, doubled or moved shows, were it
/// whole packets or pages.
const PERIOD: usize = 89;
/// Bytes in each of [`chunks`] but the last: whole periods.
const CHUNK: usize = PERIOD * 736;

/// The text of a length.
pub fn pattern(bytes: usize) -> String {
    (0..bytes).map(|i| char::from(b'!' + (i % PERIOD) as u8)).collect()
}

/// The same text in pieces, which cost no more memory than one of them.
pub fn chunks(bytes: usize) -> impl Iterator<Item = Bytes> + Send {
    let whole = Bytes::from(pattern(CHUNK));
    (0..bytes).step_by(CHUNK).map(move |at| whole.slice(..CHUNK.min(bytes - at)))
}

/// Length and digest of the text of a length, as a [`Digest`] that has seen it says them.
pub fn digest(bytes: usize) -> String {
    let mut digest = Digest::default();
    chunks(bytes).for_each(|piece| digest.add(&piece));
    digest.to_string()
}

/// Length and digest (SipHash-2-4, 128 bits) of what is added to it, as text.
#[derive(Default, Debug)]
pub struct Digest {
    bytes: usize,
    hasher: SipHasher24,
}

impl Digest {
    /// Adds what comes next.
    pub fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.hasher.write(piece);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes {:032x}", self.bytes, self.hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_long_answer_differ() {
        let text = pattern(200_000);
        assert_eq!(text.len(), 200_000);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        for size in [1000, 1350, 1400, 1448, 1460, 4096, 65_536] {
            assert_ne!(text[..size], text[size..2 * size], "{size}");
        }
    }

    #[test]
    fn chunks_are_the_text_and_the_digest_tells_what_is_not() {
        for bytes in [0, 1, CHUNK, CHUNK + 1, 200_000] {
            assert_eq!(chunks(bytes).collect::<Vec<_>>().concat(), pattern(bytes).as_bytes());
        }
        let of = |pieces: &[&[u8]]| {
            let mut digest = Digest::default();
            pieces.iter().for_each(|piece| digest.add(piece));
            digest.to_string()
        };
        assert_eq!(of(&[b"!\"", b"#"]), digest(3));
        assert_ne!(of(&[b"\"!#"]), digest(3));
        assert!(digest(3).starts_with("3 bytes "));
    }
}
