//! A stream of chunks as lines of bounded length. Not responsible for what a line says.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that have arrived and are not yet lines.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// So many bytes of the buffer hold no end of line: they are not searched again.
    searched: usize,
    bytes_max: usize,
}

/// A line that is longer than allowed, or would be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, bytes_max }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let end = self.buffer[self.searched..].iter().position(|&b| b == b'\n').map(|at| at + self.searched);
        self.searched = if end.is_some() { 0 } else { self.buffer.len() };
        if end.unwrap_or(self.buffer.len()) > self.bytes_max {
            return Err(TooLong);
        }
        Ok(end.map(|end| {
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            line
        }))
    }

    /// What stands after the last end of line, once no more will arrive.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        self.searched = 0;
        Some(self.buffer.split().freeze()).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_how_they_were_cut_into_chunks() {
        let text = b"one\n\ntwo\nlast";
        for size in 1..=text.len() {
            let mut lines = Lines::new(10);
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.next().expect("short lines") {
                    seen.push(line);
                }
            }
            seen.extend(lines.rest());
            assert_eq!(seen, [&b"one"[..], b"", b"two", b"last"]);
        }
    }

    #[test]
    fn a_long_line_is_noticed_before_its_end() {
        let mut lines = Lines::new(4);
        lines.push(b"1234");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"5");
        assert_eq!(lines.next(), Err(TooLong));
    }
}
