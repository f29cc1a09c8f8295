//! v1's values, in which the spec speaks, as v2 has them.

use crate::{Error, Result};

/// Converts v1's CPU shares (2-262144, 1024 by default) to v2's weight (1-10000, 100 by default).
///
/// The curve is runc's since 1.3.2 and systemd's: it meets both ends and the default.
pub fn cpu_shares_to_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        _ => {
            #[allow(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

/// Converts the spec's limit on memory and swap together to v2's limit on swap alone.
///
/// `None` leaves swap as it is; `-1` is unlimited.
pub fn memory_swap_to_v2(swap: Option<i64>, memory: Option<i64>) -> Result<Option<i64>> {
    let invalid = |text: String| Err(Error::InvalidLimit(text));
    match (swap.unwrap_or(0), memory.unwrap_or(0)) {
        // Lifting the limit on memory lifts v1's on both.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (swap, -1) => Ok(Some(swap)),
        (_, 0) => invalid("unable to set swap limit without memory limit".into()),
        (_, memory) if memory < 0 => invalid(format!("invalid memory value: {memory}")),
        (swap, memory) if swap < memory => {
            invalid("memory+swap limit should be >= memory limit".into())
        }
        (swap, memory) => Ok(Some(swap - memory)),
    }
}

/// Converts a block I/O weight (10-1000) linearly to v2's `io.weight` (1-10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_meet_the_ends_and_the_default() {
        let cases = [(0, 0), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in cases {
            assert_eq!(cpu_shares_to_weight(shares), weight, "{shares}");
        }
        assert!((1..200_000).all(|n| cpu_shares_to_weight(n) <= cpu_shares_to_weight(n + 1)));
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let convert = |swap, memory| memory_swap_to_v2(Some(swap), Some(memory));
        assert_eq!(convert(300, 100).unwrap(), Some(200));
        assert_eq!(convert(100, 100).unwrap(), Some(0));
        assert_eq!(convert(-1, 100).unwrap(), Some(-1));
        assert_eq!(convert(0, -1).unwrap(), Some(-1));
        assert_eq!(convert(500, -1).unwrap(), Some(500));
        assert_eq!(convert(0, 100).unwrap(), None);
        assert_eq!(memory_swap_to_v2(None, None).unwrap(), None);
        assert!(convert(50, 100).is_err());
        assert!(convert(50, 0).is_err());
        assert!(convert(50, -2).is_err());
    }

    #[test]
    fn io_weights_are_linear() {
        assert_eq!(io_weight(10), 1);
        assert_eq!(io_weight(1000), 10_000);
        assert_eq!(io_weight(500), 4950);
    }
}
