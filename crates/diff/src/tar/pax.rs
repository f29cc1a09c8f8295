//! Extended headers (POSIX.1-2001, pax): records `<length> <key>=<value>\n` that overrule a header.

use stowd_core::Result;

use super::{Time, malformed};

/// What the records of one extended header say. An empty value leaves the header's own.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) accessed: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// GNU tar's records about a file with holes, in its three forms.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) length: Option<u64>,
    /// Offsets and lengths in turn (forms 0.0 and 0.1).
    pub(super) map: Option<Vec<u64>>,
}

/// What the keys of extended attributes begin with; star began it, and everybody follows.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

impl Records {
    pub(super) fn parse(mut data: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        while !data.is_empty() {
            let (record, rest) = split(data).ok_or_else(|| malformed("invalid pax record"))?;
            data = rest;
            let at = record.iter().position(|byte| *byte == b'=');
            let (key, value) = match at {
                Some(at) if at > 0 => (&record[..at], &record[at + 1..]),
                _ => return Err(malformed("pax record without a key")),
            };
            records.take(key, value)?;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(XATTR) {
            if name.is_empty() || name.contains(&0) {
                return Err(malformed("invalid name of an extended attribute"));
            }
            self.xattrs.retain(|(other, _)| other != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = text(key, value)?,
            b"linkpath" => self.link = text(key, value)?,
            b"size" => self.size = decimal(key, value)?,
            b"uid" => self.uid = decimal(key, value)?,
            b"gid" => self.gid = decimal(key, value)?,
            b"mtime" => self.modified = time(key, value)?,
            b"atime" => self.accessed = time(key, value)?,
            b"GNU.sparse.major" => self.sparse.major = decimal(key, value)?,
            b"GNU.sparse.minor" => self.sparse.minor = decimal(key, value)?,
            b"GNU.sparse.name" => self.sparse.name = text(key, value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse.length = decimal(key, value)?;
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',');
                let numbers: Option<Vec<u64>> = numbers.map(whole).collect();
                self.sparse.map = Some(numbers.ok_or_else(|| invalid(key))?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let map = self.sparse.map.get_or_insert_default();
                // They come in turn, an offset first.
                if map.len().is_multiple_of(2) != (key == b"GNU.sparse.offset") {
                    return Err(invalid(key));
                }
                map.push(whole(value).ok_or_else(|| invalid(key))?);
            }
            // Names of owners mean nothing on another machine; the rest is comments.
            _ => {}
        }
        Ok(())
    }
}

/// Takes off the first record, without its length and its newline.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(whole(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let record = data[space + 1..length].strip_suffix(b"\n")?;
    Some((record, &data[length..]))
}

fn text(key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(invalid(key));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn decimal(key: &[u8], value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    whole(value).map(Some).ok_or_else(|| invalid(key))
}

/// Reads decimal digits and nothing else.
pub(super) fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Reads seconds with a sign and a fraction; what is finer than nanoseconds is cut off.
fn time(key: &[u8], value: &[u8]) -> Result<Option<Time>> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value).map(Some).ok_or_else(|| invalid(key))
}

fn parse_time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(whole(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    }
    if !negative {
        return Some(Time { seconds, nanoseconds });
    }
    Some(match nanoseconds {
        0 => Time { seconds: -seconds, nanoseconds: 0 },
        some => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - some },
    })
}

fn invalid(key: &[u8]) -> stowd_core::Error {
    malformed(format_args!("invalid pax record {:?}", String::from_utf8_lossy(key)))
}

/// Adds a record. Its length counts its own digits.
pub(super) fn write(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign and a newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Writes a time as a record has it.
pub(super) fn show_time(time: Time) -> String {
    let (mut seconds, mut nanoseconds) = (time.seconds, time.nanoseconds);
    let sign = if seconds < 0 { "-" } else { "" };
    if seconds < 0 && nanoseconds > 0 {
        // They count forward from the second before.
        seconds += 1;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    let whole = seconds.unsigned_abs();
    if nanoseconds == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records_with_any_value() {
        let records = Records::parse(b"12 path=a\nb\n29 SCHILY.xattr.user.a=b\0\n=c\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(records.xattrs, [(b"user.a".to_vec(), b"b\0\n=c".to_vec())]);
    }

    #[test]
    fn refuses_records_that_lie() {
        for bad in [
            &b"5 a=b\n"[..],
            b"99 path=a\n",
            b"0 a=b\n",
            b"x path=a\n",
            b"10 path=ab",
            b"6 =ab\n",
            b"12 size=-123\n",
            b"12 path=a\0bc\n",
            b"99999999999999999999999 a=b\n",
            b"6 a b\n",
            b"26 GNU.sparse.numbytes=12\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn reads_times() {
        let time = |text: &[u8]| parse_time(text).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
        assert_eq!(time(b"99999999999999999999"), None);
    }
}
