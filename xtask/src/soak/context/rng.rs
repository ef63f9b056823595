//! Choices that a seed decides, so that a run can be made again.

use fastrand::Rng;

/// The random numbers of one client.
pub(crate) struct SeededRng(Rng);

impl SeededRng {
    /// Two clients of the same seed get numbers that have nothing to do with each other.
    pub(crate) fn new(seed: u64, client: &str) -> SeededRng {
        // FNV-1a, as the standard library's hashes may change with its version.
        let hash = client.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SeededRng(Rng::with_seed(seed ^ hash))
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.0.u8(..)).collect()
    }

    /// About `len` bytes of text with all that JSON spells in a special way. It begins with `name`,
    /// which makes it the only one of its kind.
    pub(crate) fn text(&mut self, name: &str, len: usize) -> String {
        const PIECES: [&str; 8] = ["Z", "/", "\"", "\\", "\n\t", "é", "€", "😀"];
        let mut block = String::new();
        for _ in 0..16 {
            block.push_str(self.choose(&PIECES));
            block.extend((0..self.below(60)).map(|_| 'a'));
        }
        let mut text = name.to_owned();
        while text.len() < len {
            text.push_str(&block);
        }
        let end = (len.max(name.len())..).find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(text.len()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let numbers = |seed, client| SeededRng::new(seed, client).bytes(16);
        assert_eq!(numbers(1, "a"), numbers(1, "a"));
        assert_ne!(numbers(1, "a"), numbers(2, "a"));
        assert_ne!(numbers(1, "a"), numbers(1, "b"));
    }

    #[test]
    fn a_text_is_as_long_as_asked_and_begins_with_its_name() {
        for len in [0, 3, 10, 1000, 100_000] {
            let text = SeededRng::new(7, "text").text("name ", len);
            assert!(text.starts_with("name "), "{len}");
            assert!(text.len() >= len && text.len() < len.max(5) + 4, "{len}: {}", text.len());
        }
    }
}
