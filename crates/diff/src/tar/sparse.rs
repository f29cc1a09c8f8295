//! Files with holes, in the forms that GNU tar writes: its old one, and pax 0.0, 0.1 and 1.0.

use stowd_core::Result;

use super::header::number;
use super::{LIMIT, malformed};

/// Where the stored pieces of a file lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// In order, without overlaps, all within the length.
    pub(crate) pieces: Vec<Piece>,
    /// The file's whole length.
    pub(crate) length: u64,
}

/// A piece of a file that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The most pieces: those that fit into [`LIMIT`] in the most compact form, rounded.
const MOST: usize = (LIMIT / 16) as usize;

impl Sparse {
    /// Makes a map for a file of that length, of which `stored` bytes are in the archive.
    pub(super) fn new(pieces: Vec<Piece>, length: u64, stored: u64) -> Result<Self> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for piece in &pieces {
            let next = piece.offset.checked_add(piece.length);
            match next {
                Some(next) if piece.offset >= end && next <= length => end = next,
                _ => return Err(malformed("pieces of a sparse file overlap or lie outside")),
            }
            sum += piece.length;
        }
        if sum != stored {
            return Err(malformed("pieces of a sparse file do not add up to what is stored"));
        }
        if i64::try_from(length).is_err() {
            return Err(malformed("length of a sparse file is out of range"));
        }
        Ok(Self { pieces, length })
    }

    /// Makes a map from offsets and lengths in turn.
    pub(super) fn from_numbers(numbers: &[u64], length: u64, stored: u64) -> Result<Self> {
        if !numbers.len().is_multiple_of(2) {
            return Err(malformed("map of a sparse file ends in the middle"));
        }
        let pieces = numbers.chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] });
        Self::new(pieces.collect(), length, stored)
    }
}

/// Adds the pieces that a header or one of the blocks after it tells.
pub(super) fn read_old(fields: &[u8], pieces: &mut Vec<Piece>) -> Result<()> {
    for field in fields.chunks_exact(24) {
        // Unused ones are all zero.
        if field[0] == 0 {
            break;
        }
        if pieces.len() >= MOST {
            return Err(malformed("sparse file of too many pieces"));
        }
        let (Some(offset), Some(length)) = (number(&field[..12]), number(&field[12..])) else {
            return Err(malformed("invalid piece of a sparse file"));
        };
        pieces.push(Piece { offset, length });
    }
    Ok(())
}
