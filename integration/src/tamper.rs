//! Hostile and broken bundles, made from a good one byte by byte.
//!
//! Knows the tar format only as far as it wants to break it, and shares no code with the reader.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;

/// A member as it stands in the file.
#[derive(Debug, Clone)]
pub struct Member {
    pub header: [u8; BLOCK],
    pub body: Vec<u8>,
}

/// A bundle taken apart.
#[derive(Debug, Clone)]
pub struct Parts {
    pub members: Vec<Member>,
    /// What stands after the last member.
    pub end: Vec<u8>,
}

impl Parts {
    /// Takes a bundle apart.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let mut members = Vec::new();
        let mut at = 0;
        while bytes[at..at + BLOCK] != [0; BLOCK] {
            let header: [u8; BLOCK] = bytes[at..at + BLOCK].try_into()?;
            let size = usize::from_str_radix(std::str::from_utf8(&header[124..135])?, 8)?;
            at += BLOCK;
            members.push(Member {
                header,
                body: bytes[at..at + size].to_vec(),
            });
            at += size.next_multiple_of(BLOCK);
            ensure!(at + BLOCK <= bytes.len(), "no end");
        }
        Ok(Self {
            members,
            end: bytes[at..].to_vec(),
        })
    }

    /// Puts them together again.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for member in &self.members {
            file.write_all(&member.header)?;
            file.write_all(&member.body)?;
            let padding = member.body.len().next_multiple_of(BLOCK) - member.body.len();
            file.write_all(&[0; BLOCK][..padding])?;
        }
        file.write_all(&self.end)?;
        file.flush()?;
        Ok(())
    }

    /// The first member whose name begins so.
    pub fn find(&self, prefix: &str) -> Result<usize> {
        let found = self
            .members
            .iter()
            .position(|m| m.name().starts_with(prefix));
        found.with_context(|| format!("no member {prefix}*"))
    }
}

impl Member {
    /// A regular file, as a bundle has it.
    pub fn new(name: &str, body: &[u8]) -> Self {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let mut member = Self {
            header,
            body: body.to_vec(),
        };
        member.set_size(body.len());
        member
    }

    pub fn name(&self) -> String {
        let end = self.header[..100]
            .iter()
            .position(|b| *b == 0)
            .unwrap_or(100);
        String::from_utf8_lossy(&self.header[..end]).into_owned()
    }

    pub fn rename(&mut self, name: &str) {
        self.header[..100].fill(0);
        self.header[..name.len()].copy_from_slice(name.as_bytes());
        self.seal();
    }

    /// What the header says, whatever the body is.
    pub fn set_size(&mut self, size: usize) {
        self.header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        self.seal();
    }

    /// `b'2'`: a symbolic link, `b'1'` a hard link, `b'5'` a folder, `b'3'` a device.
    pub fn set_kind(&mut self, kind: u8) {
        self.header[156] = kind;
        self.seal();
    }

    /// Makes the header's own checksum right, so that only what is meant to be wrong is.
    pub fn seal(&mut self) {
        self.header[148..156].fill(b' ');
        let sum: u32 = self.header.iter().map(|b| u32::from(*b)).sum();
        self.header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_goes_together_again() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        let parts = Parts {
            members: vec![
                Member::new("a", b"one"),
                Member::new("b/c", &[7; 513]),
                Member::new("d", b""),
            ],
            end: vec![0; 2 * BLOCK],
        };
        parts.write(&one).unwrap();
        Parts::read(&one).unwrap().write(&two).unwrap();
        assert_eq!(fs::read(one).unwrap(), fs::read(&two).unwrap());
        let listed = crate::run(std::process::Command::new("tar").arg("-tf").arg(&two)).unwrap();
        assert_eq!(listed, "a\nb/c\nd\n");
    }
}
