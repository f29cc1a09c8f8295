//! Numbers as people write and read them: durations, sizes, ages.

use std::time::Duration;

/// Reads a duration as Go writes it (`1h30m`, `300ms`), where a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let malformed = || format!("{text:?} is no duration, such as 300ms, 30s or 1h30m");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(malformed)?;
        let number: f64 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(malformed()),
        };
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| malformed())?;
        sum = sum.checked_add(part).ok_or_else(malformed)?;
        rest = &rest[letters..];
    }
    Ok(sum)
}

/// Words a number of bytes in powers of 1024, as ctr does: `1.5 MiB`, `512.0 B`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // Rounding is what a display does.
    #[allow(clippy::cast_precision_loss, reason = "a display with one decimal")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Words a number of bytes in powers of 1000 with four digits, as ctr does for blobs: `2.214MB`.
pub(crate) fn decimal_bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[allow(clippy::cast_precision_loss, reason = "a display with four digits")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let before_point = if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", 4 - before_point);
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "h", "5 s", "3d", "-1s", "1e400h"] {
            assert!(wrong.is_empty() || parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_rounded() {
        assert_eq!(bytes(0), "0.0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn decimal_bytes_have_four_digits() {
        assert_eq!(decimal_bytes(0), "0B");
        assert_eq!(decimal_bytes(528), "528B");
        assert_eq!(decimal_bytes(2_214_000), "2.214MB");
        assert_eq!(decimal_bytes(10_500), "10.5kB");
        assert_eq!(decimal_bytes(1_000_000), "1MB");
    }
}
