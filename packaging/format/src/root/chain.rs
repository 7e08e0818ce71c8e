//! Following roots from the one that is kept to the newest that is offered.

use super::{MAX_STEPS, Root, RootError, RootFile};

/// A walk from root to root. What it stands on is always a root that is believed, so that the
/// caller can keep each before it asks for the next.
#[derive(Debug, Clone)]
pub struct Chain {
    root: Root,
    steps: u32,
}

/// Why a walk over roots at hand ended.
#[derive(Debug)]
pub enum End<E> {
    /// There is no later root.
    Newest,
    /// The next root is not believed.
    Refused(RootError),
    /// The caller could not keep a root.
    Keep(E),
}

impl Chain {
    /// Begins at a root that is believed.
    pub fn new(root: Root) -> Self {
        Self { root, steps: 0 }
    }

    /// The newest root that is believed.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The newest root that is believed, at the end of the walk.
    pub fn into_root(self) -> Root {
        self.root
    }

    /// The version of the root to ask for. Too many in one go are refused before they are fetched:
    /// a mirror that never runs out of roots would hold the appliance for ever.
    pub fn wanted(&self) -> Result<u32, RootError> {
        if self.steps >= MAX_STEPS {
            return Err(RootError::TooMany);
        }
        self.root.version.checked_add(1).ok_or(RootError::TooMany)
    }

    /// Goes on to the next root, which the caller then keeps. A refused one changes nothing.
    pub fn step(&mut self, bytes: &[u8], signatures: &[Vec<u8>]) -> Result<&Root, RootError> {
        self.wanted()?;
        self.root = self.root.next(bytes, signatures)?;
        self.steps += 1;
        Ok(&self.root)
    }
}

impl Root {
    /// Follows rotations among roots that are at hand. `keep` gets each one that is believed,
    /// before the next is looked at.
    ///
    /// Returns the last good root, and why the walk ended there.
    pub fn follow<E>(
        self,
        files: &[RootFile],
        mut keep: impl FnMut(&Self, &RootFile) -> Result<(), E>,
    ) -> (Self, End<E>) {
        let mut chain = Chain::new(self);
        let end = loop {
            let wanted = chain.root.version.checked_add(1);
            let Some(file) = files.iter().find(|file| Some(file.version) == wanted) else {
                break End::Newest;
            };
            match chain.step(&file.bytes, &file.signatures) {
                Err(error) => break End::Refused(error),
                Ok(root) => {
                    if let Err(error) = keep(root, file) {
                        break End::Keep(error);
                    }
                }
            }
        };
        (chain.root, end)
    }
}
