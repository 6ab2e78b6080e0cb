//! The bytes of a pickle, read block by block.

use crate::checkpoint::read::Source;
use crate::error::{Error, Result};

/// What is read at once.
const BLOCK: u64 = 64 * 1024;
/// More than any list of tensors takes; the tensors' bytes are not in the pickle.
pub(super) const MAX_PICKLE: u64 = 256 << 20;
/// More than any line: names and numbers stand in lines, other text has its length before it.
const MAX_LINE: usize = 1 << 20;

/// Bytes of a file from a position on, in their order.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    source: &'a Source,
    /// Where the pickle begins in the file.
    start: u64,
    /// Where the block in memory begins in the file.
    block_start: u64,
    block: Vec<u8>,
    /// The next byte in the block.
    next: usize,
    end: u64,
}

impl<'a> Stream<'a> {
    /// The bytes of `source` from `start` to `end`, which lies within the file.
    pub(super) fn new(source: &'a Source, start: u64, end: u64) -> Self {
        Self { source, start, block_start: start, block: Vec::new(), next: 0, end }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    /// Where in the file the next byte stands.
    pub(super) fn position(&self) -> u64 {
        self.block_start + self.next as u64
    }

    /// What is wrong, and where.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::Format(format!("malformed pickle at byte {}: {what}", self.position()))
    }

    /// Reads on if nothing is left of the block.
    fn fill(&mut self) -> Result<()> {
        if self.next < self.block.len() {
            return Ok(());
        }
        let position = self.position();
        self.check(1)?;
        self.block.resize((self.end - position).min(BLOCK) as usize, 0);
        self.source.read_at(&mut self.block, position)?;
        (self.block_start, self.next) = (position, 0);
        Ok(())
    }

    /// An error unless `bytes` more can be there.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        let left = self.end - self.position();
        if bytes > left {
            return Err(self.fault(format!("expected {bytes} more bytes, found {left}")));
        }
        if (self.position() - self.start).saturating_add(bytes) > MAX_PICKLE {
            return Err(self.fault(format!("longer than {MAX_PICKLE} bytes")));
        }
        Ok(())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.fill()?;
        self.next += 1;
        Ok(self.block[self.next - 1])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// The next `count` bytes, for which no memory is taken before they are known to be there.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        self.check(count)?;
        let mut bytes = Vec::with_capacity(count as usize);
        while (bytes.len() as u64) < count {
            self.fill()?;
            let part = (self.block.len() - self.next).min(count as usize - bytes.len());
            bytes.extend_from_slice(&self.block[self.next..self.next + part]);
            self.next += part;
        }
        Ok(bytes)
    }

    /// The bytes up to the end of the line, which is dropped.
    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                _ if line.len() == MAX_LINE => {
                    return Err(self.fault(format!("a line of more than {MAX_LINE} bytes")));
                }
                byte => line.push(byte),
            }
        }
    }
}
