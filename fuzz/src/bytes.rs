//! Numbers out of the bytes of an input; zeros when they are used up.

/// The bytes that are left.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    /// One in four is true.
    pub fn rarely(&mut self) -> bool {
        self.below(4) == 3
    }

    /// Which of these, each with a bit of the next byte.
    pub fn some<const N: usize>(&mut self, of: [usize; N]) -> Vec<usize> {
        let bits = self.byte();
        let chosen = of.into_iter().enumerate();
        let chosen = chosen.filter(|(n, _)| bits & (1 << n) != 0);
        chosen.map(|(_, value)| value).collect()
    }
}
