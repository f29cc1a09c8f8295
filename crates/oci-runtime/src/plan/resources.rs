//! The spec's limits in the words of the cgroups.

use stowd_cgroups::devices::{Access, DeviceKind, DeviceRule};
use stowd_cgroups::{
    BlockIo, Cpu, HugetlbLimit, InterfacePriority, Memory, Network, RdmaLimit, Resources,
    ThrottleDevice, WeightDevice,
};

use crate::error::{Error, Result};
use crate::spec;

/// Translates the limits. `devices` says whether rules on devices are set, as they are once, when
/// the container is created.
pub(crate) fn resources(asked: &spec::Resources, devices: Devices) -> Result<Resources> {
    let memory = asked.memory.clone().unwrap_or_default();
    let cpu = asked.cpu.clone().unwrap_or_default();
    let io = asked.block_io.clone().unwrap_or_default();
    let network = asked.network.clone().unwrap_or_default();
    Ok(Resources {
        memory: Memory {
            limit: memory.limit,
            reservation: memory.reservation,
            swap: memory.swap,
            swappiness: memory.swappiness,
            disable_oom_killer: memory.disable_oom_killer.unwrap_or(false),
            check_before_update: memory.check_before_update.unwrap_or(false),
        },
        cpu: Cpu {
            shares: cpu.shares,
            quota: cpu.quota,
            period: cpu.period,
            burst: cpu.burst,
            realtime_runtime: cpu.realtime_runtime,
            realtime_period: cpu.realtime_period,
            cpus: cpu.cpus,
            mems: cpu.mems,
            idle: cpu.idle,
        },
        pids_limit: asked.pids.as_ref().and_then(|pids| pids.limit),
        block_io: BlockIo {
            weight: io.weight,
            leaf_weight: io.leaf_weight,
            weight_device: io
                .weight_device
                .iter()
                .map(|device| WeightDevice {
                    major: device.major,
                    minor: device.minor,
                    weight: device.weight,
                    leaf_weight: device.leaf_weight,
                })
                .collect(),
            throttle_read_bps: throttle(&io.throttle_read_bps_device),
            throttle_write_bps: throttle(&io.throttle_write_bps_device),
            throttle_read_iops: throttle(&io.throttle_read_iops_device),
            throttle_write_iops: throttle(&io.throttle_write_iops_device),
        },
        hugetlb: asked
            .hugepage_limits
            .iter()
            .map(|limit| HugetlbLimit { page_size: limit.page_size.clone(), limit: limit.limit })
            .collect(),
        rdma: asked
            .rdma
            .iter()
            .map(|(device, limit)| RdmaLimit {
                device: device.clone(),
                hca_handles: limit.hca_handles,
                hca_objects: limit.hca_objects,
            })
            .collect(),
        network: Network {
            class_id: network.class_id,
            priorities: network
                .priorities
                .iter()
                .map(|one| InterfacePriority { name: one.name.clone(), priority: one.priority })
                .collect(),
        },
        unified: asked.unified.iter().map(|(file, text)| (file.clone(), text.clone())).collect(),
        devices: match devices {
            Devices::Keep => None,
            Devices::Set => Some(rules(&asked.devices)?),
        },
    })
}

/// What becomes of the rules on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// They stay.
    Keep,
    /// They are set, and with them those that every container has.
    Set,
}

fn rules(asked: &[spec::DeviceCgroup]) -> Result<Vec<DeviceRule>> {
    let act = Error::cgroup("device rules");
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let rule = |device: &spec::DeviceCgroup| {
        let access = if device.access.is_empty() { "rwm" } else { &device.access };
        Ok(DeviceRule {
            kind: DeviceKind::parse(&device.kind)?,
            major: number(device.major),
            minor: number(device.minor),
            access: Access::parse(access)?,
            allow: device.allow,
        })
    };
    let mut rules = asked.iter().map(rule).collect::<Result<Vec<_>, _>>().map_err(act)?;
    rules.extend(DeviceRule::DEFAULTS);
    Ok(rules)
}

fn throttle(devices: &[spec::ThrottleDevice]) -> Vec<ThrottleDevice> {
    devices
        .iter()
        .map(|one| ThrottleDevice { major: one.major, minor: one.minor, rate: one.rate })
        .collect()
}
