//! The block that every entry begins with.

use stowd_core::Result;

use super::{BLOCK, Time, malformed, until_nul};

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Self> {
        let header = Self(block);
        let stated = octal(header.field(148, 8)).ok_or_else(|| malformed("invalid tar header"))?;
        // Some old tars summed up signed bytes.
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if i64::try_from(stated).is_ok_and(|stated| stated == unsigned || stated == signed) {
            Ok(header)
        } else {
            Err(malformed("invalid tar header: wrong checksum"))
        }
    }

    pub(super) fn flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = match (self.is_ustar(), self.is_star()) {
            (true, true) => until_nul(self.field(345, 131)),
            (true, false) => until_nul(self.field(345, 155)),
            (false, _) => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(self.field(157, 100)).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // What kind of file it is, which some tars put here too, is said by the flag.
        Ok(u32::try_from(self.number(100, 8, "mode")? & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<u64> {
        self.number(108, 8, "owner")
    }

    pub(super) fn gid(&self) -> Result<u64> {
        self.number(116, 8, "group")
    }

    pub(super) fn size(&self) -> Result<u64> {
        self.number(124, 12, "size")
    }

    pub(super) fn modified(&self) -> Result<Time> {
        let seconds =
            signed(self.field(136, 12)).ok_or_else(|| malformed("invalid time in a tar header"))?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    pub(super) fn device(&self) -> Result<(u64, u64)> {
        if !self.is_ustar() && !self.is_gnu() {
            return Ok((0, 0));
        }
        Ok((self.number(329, 8, "device")?, self.number(337, 8, "device")?))
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.field(257, 8) == b"ustar  \0"
    }

    /// Returns where a sparse file's first four pieces are told (GNU).
    pub(super) fn sparse_pieces(&self) -> &'a [u8] {
        self.field(386, 96)
    }

    /// Says whether blocks with more pieces follow (GNU).
    pub(super) fn sparse_goes_on(&self) -> bool {
        self.0[482] != 0
    }

    /// Returns a sparse file's whole length (GNU).
    pub(super) fn sparse_length(&self) -> Result<u64> {
        self.number(483, 12, "size")
    }

    fn is_ustar(&self) -> bool {
        self.field(257, 6) == b"ustar\0"
    }

    fn is_star(&self) -> bool {
        self.field(508, 4) == b"tar\0"
    }

    fn field(&self, at: usize, len: usize) -> &'a [u8] {
        &self.0[at..at + len]
    }

    fn number(&self, at: usize, len: usize, what: &str) -> Result<u64> {
        number(self.field(at, len))
            .ok_or_else(|| malformed(format_args!("invalid {what} in a tar header")))
    }
}

/// Reads octal digits or GNU's base-256 form; none that is negative.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|value| u64::try_from(value).ok())
}

fn signed(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field).and_then(|value| i64::try_from(value).ok()),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let digits = digits.split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement, most significant byte first; the first bit only marks the form.
fn binary(field: &[u8]) -> Option<i64> {
    let negative = field.first()? & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        // A field has at most 12 bytes.
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_in_every_form() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777"), Some(0o77_777_777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"12x"), None);
        assert_eq!(number(b"8"), None);
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), None);
    }

    #[test]
    fn refuses_a_wrong_checksum() {
        let mut block = [0; BLOCK];
        block[0] = b'x';
        block[148..156].copy_from_slice(b"0000001\0");
        assert!(Header::new(&block).is_err());
        let sum = usize::from(b'x') + 8 * usize::from(b' ');
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        assert_eq!(Header::new(&block).unwrap().name(), b"x");
    }
}
