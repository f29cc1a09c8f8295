//! Creating a container.

use std::path::Path;

use stowd_api::events::{TaskCreate, TaskIo};
use stowd_api::task::v3::{CreateTaskRequest, CreateTaskResponse};
use stowd_oci_runtime::spec::Spec;

use crate::container::{Container, Process, descendants};
use crate::failure::{Result, already_exists, failed, invalid, runtime, unimplemented};
use crate::log;
use crate::options::Options;
use crate::serve::Shim;
use crate::service::warn;
use crate::stdio::Places;

const FAILED: &str = "OCI runtime create failed: runc create failed";

impl Shim {
    /// Mounts the root file system, and makes the container. Nothing is left when it fails.
    pub(crate) fn create(&mut self, request: CreateTaskRequest) -> Result<CreateTaskResponse> {
        if request.id.is_empty() {
            return Err(invalid("no container id"));
        }
        if self.containers.contains_key(&request.id) {
            return Err(already_exists(format_args!("container {}", request.id)));
        }
        if !request.checkpoint.is_empty() {
            return Err(unimplemented("restore from a checkpoint"));
        }
        let options = Options::read(request.options.as_ref())?;
        let rootfs = Path::new(&request.bundle).join("rootfs");
        mount(&request, &rootfs)?;
        let made = self.make(&request, &options);
        let container = made.inspect_err(|_| {
            if let Err(error) = stowd_mount::unmount_all(&rootfs) {
                log::warn("unmount after a failure", &[("id", &request.id), ("error", &error)]);
            }
        })?;
        let pid = container.init.pid_number();
        self.containers.insert(request.id.clone(), container);
        let io = TaskIo {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let event = TaskCreate {
            container_id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: Some(io),
            checkpoint: request.checkpoint,
            pid,
        };
        self.publisher.push("/tasks/create", &event);
        Ok(CreateTaskResponse { pid })
    }

    fn make(&mut self, request: &CreateTaskRequest, options: &Options) -> Result<Container> {
        let bundle = Path::new(&request.bundle);
        options.save(bundle)?;
        let mut spec = Spec::load(bundle).map_err(|error| runtime(FAILED, &error))?;
        if let Some(process) = &mut spec.process {
            process.terminal = request.terminal;
        }
        let descendants = descendants(&spec);
        let places = Places {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let mut opened = places.open(&request.id, &self.namespace, descendants)?;
        let engine = options.engine(bundle, &self.namespace);
        let stdio = opened.take_stdio();
        let created = engine.create(&request.id, bundle, spec, stdio, options)?;
        warn(&request.id, &created.warnings);
        let mut init = Process::new(String::new(), places);
        init.pid = Some(created.made.pid());
        match opened.connect(created.console, &self.poller, &mut self.copies) {
            Ok(streams) => init.streams = streams,
            Err(error) => {
                if let Err(error) = created.made.delete(stowd_oci_runtime::Delete::Force) {
                    log::warn("delete after a failure", &[("id", &request.id), ("error", &error)]);
                }
                return Err(error);
            }
        }
        // What tools (and containerd, when a shim has died) look for.
        let _ = std::fs::write(bundle.join("init.pid"), init.pid_number().to_string());
        let (id, bundle) = (request.id.clone(), bundle.to_owned());
        Ok(Container::new(id, bundle, engine, created.made, descendants, init))
    }
}

fn mount(request: &CreateTaskRequest, rootfs: &Path) -> Result<()> {
    if request.rootfs.is_empty() {
        return Ok(());
    }
    match std::fs::create_dir(rootfs) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(format_args!("mkdir {}: {error}", rootfs.display())));
        }
        _ => {}
    }
    let mounts = request.rootfs.iter().cloned().map(Into::into).collect::<Vec<_>>();
    stowd_mount::mount_all(&mounts, rootfs)
        .map_err(|error| failed(format_args!("failed to mount rootfs component: {error}")))
}
