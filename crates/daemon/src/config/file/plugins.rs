//! The tables `[plugins."type.id"]` and `[timeouts]`.

use std::time::Duration;

use stowd_core::{Error, Result};
use stowd_snapshots::overlayfs::{Remapping, Removal, UpperdirLabel};
use toml::{Table, Value};

use crate::Config;

/// Tables of parts that stowd does not have yet, or whose keys it need not heed: they are large in
/// every generated file, and a warning for each key would bury the ones that matter.
const SILENT: &[&str] = &[
    "io.containerd.cri.v1.",
    "io.containerd.grpc.v1.cri",
    "io.containerd.image-verifier.v1.",
    "io.containerd.internal.v1.",
    "io.containerd.monitor.container.v1.",
    "io.containerd.monitor.task.v1.",
    "io.containerd.nri.v1.",
    "io.containerd.runtime.v2.",
    "io.containerd.service.v1.",
    "io.containerd.shim.v1.",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.differ.v1.",
    "io.containerd.tracing.processor.v1.",
    "io.containerd.ttrpc.v1.",
];

/// Takes one plugin's table.
pub(super) fn apply(
    config: &mut Config,
    name: &str,
    table: &Table,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for (key, value) in table {
        let place = format!("plugins.{name:?}.{key}");
        let known = match name {
            "io.containerd.metadata.v1.bolt" => metadata(config, key, value, &place)?,
            "io.containerd.gc.v1.scheduler" => collector(config, key, value, &place)?,
            "io.containerd.snapshotter.v1.overlayfs" => overlayfs(config, key, value, &place)?,
            "io.containerd.snapshotter.v1.native" => {
                matches!(key.as_str(), "root_path") && text(value, &place)?.is_empty()
            }
            "io.containerd.transfer.v1.local" => transfer(config, key, value, &place)?,
            "io.containerd.server.v1.grpc" => socket(config, Which::Grpc, key, value, &place)?,
            "io.containerd.server.v1.ttrpc" => socket(config, Which::Ttrpc, key, value, &place)?,
            _ => SILENT.iter().any(|silent| name.starts_with(silent)),
        };
        if !known {
            warnings.push(format!("configuration key {place} has no effect"));
        }
    }
    Ok(())
}

/// Takes one timeout.
pub(super) fn timeout(
    config: &mut Config,
    name: &str,
    wait: &str,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let place = format!("timeouts.{name:?}");
    let wait = duration(wait).ok_or_else(|| bad(&place, "a duration such as 2s or 500ms", wait))?;
    match name {
        "io.containerd.timeout.shim.load" => config.timeouts.load = wait,
        "io.containerd.timeout.shim.cleanup" => config.timeouts.cleanup = wait,
        "io.containerd.timeout.shim.shutdown" => config.timeouts.shutdown = wait,
        "io.containerd.timeout.task.state" => config.timeouts.state = wait,
        "io.containerd.timeout.metrics.shimstats" => config.timeouts.stats = wait,
        // A database that waits for its lock, and a part that is not here yet.
        "io.containerd.timeout.bolt.open" | "io.containerd.timeout.cri.defercleanup" => {}
        _ => warnings.push(format!("configuration key {place} has no effect")),
    }
    Ok(())
}

fn metadata(config: &mut Config, key: &str, value: &Value, place: &str) -> Result<bool> {
    match key {
        "content_sharing_policy" => {
            config.metadata.sharing = match text(value, place)? {
                "" | "shared" => stowd_metadata::Sharing::Shared,
                "isolated" => stowd_metadata::Sharing::Isolated,
                other => return Err(bad(place, "\"shared\" or \"isolated\"", other)),
            };
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn collector(config: &mut Config, key: &str, value: &Value, place: &str) -> Result<bool> {
    let collector = &mut config.metadata.collector;
    match key {
        "pause_threshold" => {
            let share = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
            collector.pause_threshold = share.ok_or_else(|| bad(place, "a number", value))?;
        }
        "deletion_threshold" => collector.deletion_threshold = number(value, place)?,
        "mutation_threshold" => collector.mutation_threshold = number(value, place)?,
        "schedule_delay" => collector.schedule_delay = wait(value, place)?,
        "startup_delay" => collector.startup_delay = wait(value, place)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn overlayfs(config: &mut Config, key: &str, value: &Value, place: &str) -> Result<bool> {
    let overlayfs = &mut config.overlayfs;
    match key {
        "mount_options" => overlayfs.mount_options = texts(value, place)?,
        "upperdir_label" => {
            overlayfs.upperdir_label =
                if flag(value, place)? { UpperdirLabel::Shown } else { UpperdirLabel::default() };
        }
        "slow_chown" => {
            overlayfs.remapping =
                if flag(value, place)? { Remapping::SlowChown } else { Remapping::default() };
        }
        "sync_remove" => {
            overlayfs.removal =
                if flag(value, place)? { Removal::Synchronous } else { Removal::default() };
        }
        "root_path" => {
            overlayfs.root_path =
                Some(text(value, place)?).filter(|t| !t.is_empty()).map(Into::into);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn transfer(config: &mut Config, key: &str, value: &Value, place: &str) -> Result<bool> {
    match key {
        "max_concurrent_downloads" => {
            config.transfer.max_concurrent_downloads = number(value, place)? as usize;
        }
        "config_path" => {
            text(value, place)?.clone_into(&mut config.transfer.registry_config_path);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[derive(Clone, Copy)]
enum Which {
    Grpc,
    Ttrpc,
}

fn socket(
    config: &mut Config,
    which: Which,
    key: &str,
    value: &Value,
    place: &str,
) -> Result<bool> {
    let socket = match which {
        Which::Grpc => &mut config.grpc,
        Which::Ttrpc => &mut config.ttrpc,
    };
    match key {
        "address" => {
            if let address @ [_, ..] = text(value, place)?.as_bytes() {
                use std::os::unix::ffi::OsStrExt as _;
                socket.path = std::ffi::OsStr::from_bytes(address).into();
            }
        }
        "uid" => socket.uid = number(value, place)?,
        "gid" => socket.gid = number(value, place)?,
        "max_recv_message_size" if number(value, place)? > 0 => {
            config.max_receive = number(value, place)? as usize
        }
        "max_send_message_size" if number(value, place)? > 0 => {
            config.max_send = number(value, place)? as usize
        }
        "max_recv_message_size" | "max_send_message_size" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn text<'a>(value: &'a Value, place: &str) -> Result<&'a str> {
    value.as_str().ok_or_else(|| bad(place, "a string", value))
}

fn texts(value: &Value, place: &str) -> Result<Vec<String>> {
    let list = value.as_array().ok_or_else(|| bad(place, "a list of strings", value))?;
    list.iter().map(|one| text(one, place).map(str::to_owned)).collect()
}

fn flag(value: &Value, place: &str) -> Result<bool> {
    value.as_bool().ok_or_else(|| bad(place, "true or false", value))
}

fn number(value: &Value, place: &str) -> Result<u32> {
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| bad(place, "a whole number that is not negative", value))
}

fn wait(value: &Value, place: &str) -> Result<Duration> {
    let wait = value.as_str().and_then(duration);
    wait.ok_or_else(|| bad(place, "a duration such as 2s or 500ms", value))
}

fn bad(place: &str, wanted: &str, got: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("configuration key {place} must be {wanted}, not {got}"))
}

/// Parses a duration as Go writes it: `1h2m3.5s`, `100ms`, `0`.
fn duration(text: &str) -> Option<Duration> {
    if matches!(text, "" | "0") {
        return Some(Duration::ZERO);
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let amount = amount.parse::<f64>().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gos_durations() {
        assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(duration("1h2m3s"), Some(Duration::from_secs(3723)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for bad in ["2", "s", "2x", "-1s", "1e400s", "2s3"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
