//! Times and ages in Go's forms, since scripts read them.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A time as Go prints one in UTC: `2026-01-02 15:04:05.25 +0000 UTC`.
pub(crate) fn go(time: SystemTime) -> String {
    let time = stamp(time).to_zoned(TimeZone::UTC);
    format!("{}{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S"), fraction(&time))
}

/// A time as Go's JSON has it: RFC 3339 with what is needed of the fraction.
pub(crate) fn json(time: SystemTime) -> String {
    let time = stamp(time).to_zoned(TimeZone::UTC);
    format!("{}{}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), fraction(&time))
}

/// The time now in whole seconds of UTC, as labels have it: RFC 3339.
pub(crate) fn now() -> String {
    Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time in whole seconds of the machine's time zone: RFC 3339.
pub(crate) fn local(time: SystemTime) -> String {
    let time = stamp(time).to_zoned(TimeZone::system());
    let offset = if time.offset().seconds() == 0 { "Z" } else { "%:z" };
    time.strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}")).to_string()
}

/// The time after a while, as labels have it.
pub(crate) fn after(life: Duration) -> String {
    let at = SystemTime::now().checked_add(life).unwrap_or(SystemTime::now());
    json(at)
}

/// How long ago a time was, in ctr's words: `5 minutes`, `About an hour`.
pub(crate) fn age(since: SystemTime) -> String {
    words(since.elapsed().unwrap_or_default())
}

fn words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

fn stamp(time: SystemTime) -> Timestamp {
    // Nothing that a daemon sends is out of jiff's range but by mistake; that shows as 1970.
    Timestamp::try_from(time).unwrap_or_default()
}

fn fraction(time: &Zoned) -> String {
    let nanoseconds = time.subsec_nanosecond();
    if nanoseconds == 0 {
        return String::new();
    }
    let digits = format!(".{nanoseconds:09}");
    digits.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_are_gos() {
        let time = UNIX_EPOCH + Duration::new(86_400, 250_000_000);
        assert_eq!(go(time), "1970-01-02 00:00:00.25 +0000 UTC");
        assert_eq!(json(time), "1970-01-02T00:00:00.25Z");
        assert_eq!(json(UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn ages_are_rounded() {
        let said = |seconds| words(Duration::from_secs(seconds));
        assert_eq!(said(0), "Less than a second");
        assert_eq!(said(59), "59 seconds");
        assert_eq!(said(119), "About a minute");
        assert_eq!(said(3600), "About an hour");
        assert_eq!(said(3 * 3600 + 1800), "4 hours");
        assert_eq!(said(72 * 3600), "3 days");
        assert_eq!(said(40 * 24 * 3600), "5 weeks");
        assert_eq!(said(100 * 24 * 3600), "3 months");
        assert_eq!(said(1000 * 24 * 3600), "2 years");
    }
}
