//! The flags that say what a container shall be, in ctr's words.

use std::path::PathBuf;

use stowd_client::spec::{IdMapping, Mount, Namespace, Rlimit};
use stowd_core::Platform;

/// The flags that name a runtime.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Runtime {
    /// Runtime name or absolute path to runtime binary
    #[arg(id = "runtime", long = "runtime", value_name = "RUNTIME")]
    pub(super) name: Option<String>,
    /// Optional runtime config path
    #[arg(long, value_name = "PATH")]
    pub(super) runtime_config_path: Option<String>,
    /// Specify runc-compatible binary
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(super) runc_binary: String,
    /// Specify runc-compatible root
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(super) runc_root: String,
    /// Start runc with systemd cgroup manager
    #[arg(long)]
    pub(super) runc_systemd_cgroup: bool,
}

/// The flags of everything that makes containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Container {
    #[command(flatten)]
    pub(super) runtime: Runtime,
    /// Snapshotter name; empty stands for the default one
    #[arg(
        long,
        env = "CONTAINERD_SNAPSHOTTER",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) snapshotter: String,
    /// Label for the new snapshot of this container
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(super) snapshotter_label: Vec<(String, String)>,
    /// Path to the runtime-specific spec config file
    #[arg(short, long, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Working directory of the process
    #[arg(long, value_name = "PATH")]
    pub(super) cwd: Option<String>,
    /// Further environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// File of further environment variables, one a line
    #[arg(long, value_name = "PATH")]
    pub(super) env_file: Option<PathBuf>,
    /// Label for the container
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(super) label: Vec<(String, String)>,
    /// OCI annotation
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation)]
    pub(super) annotation: Vec<(String, String)>,
    /// Further mount, such as type=bind,src=/tmp,dst=/host,options=rbind:ro
    #[arg(long, value_parser = Mount::parse_flag)]
    pub(super) mount: Vec<Mount>,
    /// Share the host's network
    #[arg(long)]
    pub(super) net_host: bool,
    /// Run a privileged container
    #[arg(long)]
    pub(super) privileged: bool,
    /// Make the container's root file system read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Create the container in this sandbox
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(super) sandbox: String,
    /// Allocate a terminal for the container
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Existing Linux namespace to join
    #[arg(long, value_name = "TYPE:PATH", value_parser = Namespace::parse_flag)]
    pub(super) with_ns: Vec<Namespace>,
    /// File to write the task's pid to
    #[arg(long, value_name = "PATH")]
    pub(super) pid_file: Option<PathBuf>,
    /// Add a GPU (not implemented)
    #[arg(long, value_name = "NUMBER")]
    pub(super) gpus: Vec<u32>,
    /// Let the process gain privileges: turn NoNewPrivileges off
    #[arg(long)]
    pub(super) allow_new_privs: bool,
    /// Limit of memory, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub(super) memory_limit: u64,
    /// Add a capability, named with CAP_ in front
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Drop a capability, named with CAP_ in front
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// Use the default seccomp profile
    #[arg(long)]
    pub(super) seccomp: bool,
    /// Path to a seccomp profile of one's own; needs --seccomp
    #[arg(long, value_name = "PATH")]
    pub(super) seccomp_profile: Option<PathBuf>,
    /// Make and use AppArmor's default profile under this name (not implemented)
    #[arg(long, value_name = "NAME")]
    pub(super) apparmor_default_profile: Option<String>,
    /// Use an AppArmor profile that is loaded
    #[arg(long, value_name = "NAME")]
    pub(super) apparmor_profile: Option<String>,
    /// Path to blockio class definitions (not implemented)
    #[arg(long, value_name = "PATH")]
    pub(super) blockio_config_file: Option<PathBuf>,
    /// Name of a blockio class (not implemented)
    #[arg(long, value_name = "NAME")]
    pub(super) blockio_class: Option<String>,
    /// Name of the RDT class, for cache and memory bandwidth
    #[arg(long, value_name = "NAME")]
    pub(super) rdt_class: Option<String>,
    /// The container's host name
    #[arg(long)]
    pub(super) hostname: Option<String>,
    /// User and perhaps group: NAME|UID[:GROUP|GID]
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Use a root file system that no snapshotter manages
    #[arg(long)]
    pub(super) rootfs: bool,
    /// Do not use pivot_root
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// CPU time in microseconds for each period
    #[arg(long, value_name = "MICROSECONDS", default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
    pub(super) cpu_quota: i64,
    /// Period in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, hide_default_value = true)]
    pub(super) cpu_period: u64,
    /// CPU time in microseconds that may be saved up beyond the quota
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, hide_default_value = true)]
    pub(super) cpu_burst: u64,
    /// Propagation of the container's root file system
    #[arg(long, value_name = "KIND")]
    pub(super) rootfs_propagation: Option<String>,
    /// Path to a device, or to a folder of devices, to add
    #[arg(long, value_name = "PATH")]
    pub(super) device: Vec<String>,
}

/// Further flags of `run`, which `containers create` does not have.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Placement {
    /// Cgroup path; "" disables cgroups
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup: Option<String>,
    /// Run the image for this platform
    #[arg(long, value_parser = Platform::parse)]
    pub(super) platform: Option<Platform>,
    /// Set up networking by CNI (not implemented)
    #[arg(long)]
    pub(super) cni: bool,
    /// Synchronize the file system when the image is unpacked; stowd always does
    #[arg(long)]
    pub(super) sync_fs: bool,
    /// Run inside a user namespace with this range of user ids
    #[arg(long, value_name = "CONTAINER:HOST:LENGTH", value_parser = IdMapping::parse_flag)]
    pub(super) uidmap: Vec<IdMapping>,
    /// Run inside a user namespace with this range of group ids
    #[arg(long, value_name = "CONTAINER:HOST:LENGTH", value_parser = IdMapping::parse_flag)]
    pub(super) gidmap: Vec<IdMapping>,
    /// Let the snapshotter remap the ids of files, by labels
    #[arg(long)]
    pub(super) remap_labels: bool,
    /// Give no host devices to a privileged container
    #[arg(long)]
    pub(super) privileged_without_host_devices: bool,
    /// Number of CPUs' time
    #[arg(long, default_value_t = 0.0, hide_default_value = true)]
    pub(super) cpus: f64,
    /// Relative CPU weight
    #[arg(long, value_name = "SHARES")]
    pub(super) cpu_shares: Option<u64>,
    /// The CPUs that the container runs on, such as 1-2,4
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_cpus: Option<String>,
    /// The memory nodes that the container uses, such as 1-2,4
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_mems: Option<String>,
    /// Limit of open files
    #[arg(long, value_name = "SOFT:HARD", value_parser = Rlimit::parse_nofile)]
    pub(super) rlimit_nofile: Option<Rlimit>,
}

/// Where a new task's streams lead.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Send all output nowhere
    #[arg(long)]
    pub(super) null_io: bool,
    /// Send all output to a log: file:///PATH, binary:///PROGRAM, fifo:///PATH
    #[arg(long, value_name = "URI")]
    pub(super) log_uri: Option<String>,
    /// Folder for the fifos
    #[arg(long, value_name = "PATH")]
    pub(super) fifo_dir: Option<PathBuf>,
}

/// `KEY=VALUE`, or `KEY` alone, whose value is then `true`, as ctr has it.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, "true"));
    if key.is_empty() {
        return Err(format!("{text:?} has no key; labels are KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid key=value format annotation: {text}"))?;
    Ok((key.to_owned(), value.to_owned()))
}
