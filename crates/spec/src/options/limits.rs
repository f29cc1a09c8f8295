//! What the container may use.

use crate::{BlockIo, Cpu, IntelRdt, Memory, Spec};

impl Spec {
    /// Limits memory, in bytes.
    pub fn set_memory_limit(&mut self, bytes: i64) {
        self.memory_mut().limit = Some(bytes);
    }

    /// Limits memory and swap together, in bytes; `-1` is unlimited.
    pub fn set_memory_swap(&mut self, bytes: i64) {
        self.memory_mut().swap = Some(bytes);
    }

    /// Limits tasks; `-1` is unlimited.
    pub fn set_pids_limit(&mut self, tasks: i64) {
        self.resources_mut().pids.get_or_insert_default().limit = Some(tasks);
    }

    /// Sets the relative CPU weight.
    pub fn set_cpu_shares(&mut self, shares: u64) {
        self.cpu_mut().shares = Some(shares);
    }

    /// Sets the CPUs, as a list such as `0-2,7`.
    pub fn set_cpuset_cpus(&mut self, cpus: impl Into<String>) {
        self.cpu_mut().cpus = cpus.into();
    }

    /// Sets the memory nodes, as a list.
    pub fn set_cpuset_mems(&mut self, mems: impl Into<String>) {
        self.cpu_mut().mems = mems.into();
    }

    /// Limits CPU time to `quota` microseconds in each `period`.
    pub fn set_cpu_quota(&mut self, quota: i64, period: u64) {
        let cpu = self.cpu_mut();
        cpu.quota = Some(quota);
        cpu.period = Some(period);
    }

    /// Limits CPU time to so many CPUs, in periods of a tenth of a second.
    pub fn set_cpus(&mut self, cpus: f64) {
        #[allow(clippy::cast_possible_truncation, reason = "saturates, far above any machine")]
        self.set_cpu_quota((cpus * 100_000.0) as i64, 100_000);
    }

    /// Lets the container save up so many microseconds beyond its quota.
    pub fn set_cpu_burst(&mut self, microseconds: u64) {
        self.cpu_mut().burst = Some(microseconds);
    }

    /// Gives the container real-time CPU time.
    pub fn set_cpu_realtime(&mut self, runtime: i64, period: u64) {
        let cpu = self.cpu_mut();
        cpu.realtime_runtime = Some(runtime);
        cpu.realtime_period = Some(period);
    }

    /// Replaces the block device limits.
    pub fn set_block_io(&mut self, limits: BlockIo) {
        self.resources_mut().block_io = Some(limits);
    }

    /// Puts the container into a class of Intel's resource director.
    pub fn set_rdt_class(&mut self, class: impl Into<String>) {
        let rdt = IntelRdt { clos_id: class.into(), ..IntelRdt::default() };
        self.linux_mut().intel_rdt = Some(rdt);
    }

    fn memory_mut(&mut self) -> &mut Memory {
        self.resources_mut().memory.get_or_insert_default()
    }

    fn cpu_mut(&mut self) -> &mut Cpu {
        self.resources_mut().cpu.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_land_beside_each_other() {
        let mut spec = Spec::linux_default("n", "i");
        spec.set_memory_limit(1 << 20);
        spec.set_memory_swap(-1);
        spec.set_cpus(1.5);
        spec.set_cpu_shares(5);
        spec.set_pids_limit(7);
        let resources = spec.resources_mut();
        let json = serde_json::to_string(&resources).unwrap();
        assert_eq!(
            json,
            r#"{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":1048576,"swap":-1},"cpu":{"shares":5,"quota":150000,"period":100000},"pids":{"limit":7}}"#
        );
    }
}
