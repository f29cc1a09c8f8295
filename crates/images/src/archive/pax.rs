//! Extended headers (POSIX.1-2008, pax, "Extended Header").

use stowd_core::{Error, Result};

/// What an extended header says of the entry after it, as far as archives of images need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<String>,
    pub(super) link: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
}

impl Extended {
    /// Parses records of the form `<length> <key>=<value>\n`.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self> {
        let mut made = Self::default();
        while !data.is_empty() && data[0] != 0 {
            let (record, rest) = record(data)
                .ok_or_else(|| Error::invalid("archive has a malformed extended header"))?;
            data = rest;
            let Some((key, value)) = record.split_once('=') else { continue };
            match key {
                "path" => made.path = Some(value.to_owned()),
                "linkpath" => made.link = Some(value.to_owned()),
                "size" => {
                    let size = value.parse().map_err(|_| {
                        Error::invalid(format_args!("archive has an entry of size {value:?}"))
                    })?;
                    made.size = Some(size);
                }
                _ if key.starts_with("GNU.sparse.") => made.sparse = true,
                _ => {}
            }
        }
        Ok(made)
    }
}

/// Splits the first record off: its text without the newline, and what follows.
fn record(data: &[u8]) -> Option<(&str, &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_records() {
        let made = Extended::parse(b"12 path=a/b\n16 size=1234567\n11 mtime=1\n").unwrap();
        assert_eq!(made.path.as_deref(), Some("a/b"));
        assert_eq!(made.size, Some(1_234_567));
    }

    #[test]
    fn refuses_records_that_lie() {
        for bad in [
            &b"999 path=a\n"[..],
            b"1 path=a\n",
            b"path=a\n",
            b"11 path=a/b\n",
            b"0 a=b\n",
            b"9 size=x\n",
        ] {
            assert!(Extended::parse(bad).is_err(), "{bad:?}");
        }
    }
}
