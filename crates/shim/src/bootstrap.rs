//! What a shim does before and after it serves: `start`, `delete`, and telling what it is.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{DirBuilder, File};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stowd_api::runc::v1;
use stowd_api::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use stowd_api::task::v3::DeleteResponse;
use stowd_api::types::{RuntimeInfo, RuntimeVersion};
use stowd_api::{Any, Message};
use stowd_sys::exec::ExecStrings;
use stowd_sys::own_program;
use stowd_sys::spawn::{Spawn, spawn};

use crate::command::Arguments;
use crate::engine::Engine;
use crate::options::Options;
use crate::service::warn;
use crate::{clock, log};

/// The runtime that this is the shim of.
const NAME: &str = "io.containerd.runc.v2";

/// Annotations whose value groups containers into one shim, the first that is there.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Where sockets are, if the daemon does not say.
const SOCKETS: &str = "/run/containerd/s";

/// The newest version of the task service that is served. Version 2 is, too.
const NEWEST: i32 = 3;

/// The most that a daemon sends to standard input.
const MOST: u64 = 10 << 20;

/// The status of a container whose shim died: killed.
const KILLED: u32 = 137;

/// The part of a spec that matters here.
#[derive(Default, Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The answer to `start`, for daemons that read JSON.
#[derive(Serialize)]
struct Answer<'a> {
    version: i32,
    address: &'a str,
    protocol: &'static str,
}

/// What the daemon sent to standard input.
#[derive(Default)]
struct Asked {
    /// Its parameters (containerd 2.3 and later).
    parameters: Option<BootstrapParams>,
    /// The runtime's options.
    options: Option<v1::Options>,
}

/// Prints the version as containerd's shims do.
pub(crate) fn version() -> Result<(), String> {
    let version = env!("CARGO_PKG_VERSION");
    print(format!("stowd-shim:\n  Version:  {version}\n  Runtime:  {NAME}\n").as_bytes())
}

/// Prints what the runtime can do, as a message.
pub(crate) fn info() -> Result<(), String> {
    let version =
        RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() };
    let options = asked(&standard_input(), "").options;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(version),
        features: features(options.as_ref())?,
        options: options.map(|options| Any::pack(&options)),
        ..Default::default()
    };
    print(&info.encode_to_vec())
}

/// Starts a shim in the background, or finds that of the container's group; prints its address.
pub(crate) fn start(arguments: &Arguments) -> Result<(), String> {
    let bundle = arguments.bundle()?;
    let asked = asked(&standard_input(), &arguments.id);
    let parameters = asked.parameters.as_ref();
    let grpc = match parameters.map(|parameters| &*parameters.containerd_grpc_address) {
        Some(address) if !address.is_empty() => address,
        _ => &arguments.address,
    };
    let folder = parameters.and_then(|parameters| parameters.socket_dir.as_deref());
    let folder = folder.filter(|folder| !folder.is_empty()).unwrap_or(SOCKETS);
    let spec: Annotated = std::fs::read(bundle.join("config.json"))
        .map_err(|error| format!("read config.json: {error}"))
        .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()))?;
    let annotations = spec.annotations.unwrap_or_default();
    let group = GROUPS.iter().find_map(|name| annotations.get(*name)).unwrap_or(&arguments.id);
    let socket = Path::new(folder).join(hash(grpc, &arguments.namespace, group));
    let address = format!("unix://{}", socket.display());
    if let Some(listener) = listen(&socket)? {
        let ttrpc = parameters.map(|parameters| &*parameters.containerd_ttrpc_address);
        let pid = launch(arguments, &bundle, &listener, ttrpc.unwrap_or_default());
        let pid = pid.inspect_err(|_| drop(std::fs::remove_file(&socket)))?;
        write(&bundle, "shim.pid", &pid.to_string())?;
        join_cgroup(pid, asked.options.as_ref());
    }
    write(&bundle, "address", &address)?;
    let result = BootstrapResult {
        version: NEWEST,
        address,
        protocol: "ttrpc".to_owned(),
        ..Default::default()
    };
    print(&answer(&result, asked.parameters.is_some())?)
}

/// Clears away what a shim that died left of a container, and prints how the container ended.
pub(crate) fn delete(arguments: &Arguments) -> Result<(), String> {
    let here = arguments.bundle()?;
    // Daemons run this in the container's bundle or in another one beside it.
    let bundle = match here.parent() {
        Some(parent) if arguments.bundle.is_none() => parent.join(&arguments.id),
        _ => here,
    };
    let engine = Options::load(&bundle).engine(&bundle, &arguments.namespace);
    match engine.remove(&arguments.id) {
        Ok(warnings) => warn(&arguments.id, &warnings),
        Err(error) => log::warn("delete", &[("id", &arguments.id), ("error", &error)]),
    }
    if let Err(error) = stowd_mount::unmount_all(&bundle.join("rootfs")) {
        log::warn("unmount", &[("id", &arguments.id), ("error", &error)]);
    }
    remove_socket(&bundle);
    let pid = std::fs::read_to_string(bundle.join("init.pid")).ok();
    let response = DeleteResponse {
        pid: pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or_default(),
        exit_status: KILLED,
        exited_at: Some(clock::now()),
    };
    print(&response.encode_to_vec())
}

/// Removes the dead shim's socket. That of a pod whose shim lives is in use.
fn remove_socket(bundle: &Path) {
    let address = std::fs::read_to_string(bundle.join("address")).unwrap_or_default();
    if let Some(socket) = address.trim().strip_prefix("unix://")
        && UnixStream::connect(socket)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    {
        let _ = std::fs::remove_file(socket);
    }
}

/// Binds the socket; nothing when a shim listens there already, as that of a pod does.
fn listen(socket: &Path) -> Result<Option<UnixListener>, String> {
    let failed = |error: std::io::Error| format!("listen at {}: {error}", socket.display());
    if let Some(folder) = socket.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let listener = match UnixListener::bind(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Ok(None);
            }
            std::fs::remove_file(socket).map_err(failed)?;
            UnixListener::bind(socket)
        }
        bound => bound,
    };
    let listener = listener.map_err(failed)?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, private).map_err(failed)?;
    Ok(Some(listener))
}

/// Starts this program again, to serve on the socket.
fn launch(
    arguments: &Arguments,
    bundle: &Path,
    listener: &UnixListener,
    ttrpc: &str,
) -> Result<i32, String> {
    let failed = |error: &dyn std::fmt::Display| format!("start the shim: {error}");
    let c_string = |text: &OsStr| CString::new(text.as_bytes()).map_err(|error| failed(&error));
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| failed(&error))?;
    let log = open_log(bundle).unwrap_or(null.try_clone().map_err(|error| failed(&error))?);
    let mut args = vec![c_string(program.as_os_str())?];
    let flags = [
        ("-namespace", OsStr::new(&arguments.namespace)),
        ("-id", OsStr::new(&arguments.id)),
        ("-address", OsStr::new(&arguments.address)),
        ("-bundle", bundle.as_os_str()),
    ];
    for (name, value) in flags {
        args.push(c_string(OsStr::new(name))?);
        args.push(c_string(value)?);
    }
    if arguments.debug {
        args.push(c"-debug".to_owned());
    }
    args.push(c"serve".to_owned());
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        if ttrpc.is_empty() || name != "TTRPC_ADDRESS" {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            env.push(c_string(OsStr::from_bytes(&pair))?);
        }
    }
    if !ttrpc.is_empty() {
        env.push(c_string(OsStr::new(&format!("TTRPC_ADDRESS={ttrpc}")))?);
    }
    // Where nothing that runs in a container can write to it (CVE-2019-5736), if that can be had.
    let sealed = own_program::open();
    let start = match &sealed {
        Ok(sealed) => own_program::path(sealed),
        Err(_) => c_string(program.as_os_str())?,
    };
    let (pid, _) = spawn(&Spawn {
        program: &start,
        args: &ExecStrings::new(args),
        env: &ExecStrings::new(env),
        cwd: &c_string(bundle.as_os_str())?,
        fds: &[null.as_fd(), null.as_fd(), log.as_fd(), listener.as_fd()],
    })
    .map_err(|error| failed(&error))?;
    Ok(pid.as_raw_nonzero().get())
}

/// Opens the fifo that the daemon reads the shim's log from. Reading and writing, so that it does
/// not break when the daemon goes.
fn open_log(bundle: &Path) -> Option<File> {
    let path = bundle.join("log");
    let fifo = path.metadata().ok()?.file_type().is_fifo();
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
    File::options().read(fifo).write(true).custom_flags(flags).open(path).ok()
}

/// Moves the shim to the cgroup that the options name. It serves as well without.
fn join_cgroup(pid: i32, options: Option<&v1::Options>) {
    let Some(path) = options.map(|options| &*options.shim_cgroup).filter(|it| !it.is_empty())
    else {
        return;
    };
    let joined = (|| {
        let path =
            stowd_cgroups::CgroupsPath::parse(path, "shim", stowd_cgroups::Driver::Cgroupfs)?;
        let cgroup = stowd_cgroups::Cgroup::load(path.resolve(stowd_cgroups::Layout::get()?)?);
        rustix::process::Pid::from_raw(pid).map_or(Ok(()), |pid| cgroup.add(pid))
    })();
    if let Err(error) = joined {
        log::warn("join the shim's cgroup", &[("error", &error)]);
    }
}

fn answer(result: &BootstrapResult, speaks_protobuf: bool) -> Result<Vec<u8>, String> {
    if speaks_protobuf {
        return Ok(result.encode_to_vec());
    }
    let newest = std::env::var("MAX_SHIM_VERSION").ok().and_then(|text| text.parse::<i32>().ok());
    // Before there were versions (containerd 1.6), the answer was the address.
    let Some(newest) = newest else { return Ok(result.address.clone().into_bytes()) };
    let answer =
        Answer { version: result.version.min(newest), address: &result.address, protocol: "ttrpc" };
    serde_json::to_vec(&answer).map_err(|error| error.to_string())
}

fn standard_input() -> Vec<u8> {
    let mut input = Vec::new();
    let stdin = std::io::stdin();
    // Whatever cannot be read was not sent.
    if !stdin.is_terminal() {
        let _ = stdin.lock().take(MOST).read_to_end(&mut input);
    }
    input
}

/// Tells options, as daemons before 2.3 send them, from parameters: both are messages that begin
/// with a text and go on with another field, but only parameters name the container.
fn asked(input: &[u8], id: &str) -> Asked {
    let options = |any: &Any| any.unpack::<v1::Options>().ok().flatten();
    if let Ok(parameters) = BootstrapParams::decode(input)
        && !id.is_empty()
        && parameters.instance_id == id
    {
        let mut values = parameters.extensions.iter().filter_map(|one| one.value.as_ref());
        let options = values.find_map(options);
        return Asked { parameters: Some(parameters), options };
    }
    let options = Any::decode(input).ok().and_then(|any| options(&any));
    Asked { parameters: None, options }
}

/// What the runtime offers, in the runtime specification's form; nothing where its program cannot
/// tell.
fn features(options: Option<&v1::Options>) -> Result<Option<Any>, String> {
    let options = Options::of(options.cloned().unwrap_or_default());
    let json = match options.engine(Path::new("."), "") {
        Engine::Linked(_) => Some(stowd_oci_runtime::features().to_string().into_bytes()),
        Engine::Program(program) => program.features()?,
    };
    Ok(json.map(|json| Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned(),
        value: json.into(),
    }))
}

/// Derives a socket's name from what it is for, as containerd does.
fn hash(grpc: &str, namespace: &str, group: &str) -> String {
    use std::fmt::Write as _;
    let mut path = PathBuf::from(grpc);
    path.push(namespace);
    path.push(group);
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(path.as_os_str().as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn write(bundle: &Path, name: &str, text: &str) -> Result<(), String> {
    std::fs::write(bundle.join(name), text).map_err(|error| format!("write {name}: {error}"))
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}
