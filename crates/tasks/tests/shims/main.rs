//! The manager with unmodified shims of containerd, which are the judges of both ways of starting
//! and of both versions of the task service.

#![allow(clippy::unwrap_used, reason = "a failure here is the report")]

mod bench;
mod death;
mod fake;
mod restart;
mod runtimes;
#[path = "../../../testing/tests/shims/sandbox.rs"]
mod sandbox_shim;
mod sandboxes;

use stowd_testing::conformance::{self, tasks};
use stowd_testing::{Version, need};

use bench::{Bench, Kind};

fn keeps_the_rules(kind: Kind) {
    let bench = Bench::new(kind);
    bench.live(async |life| {
        let folder = bench.scratch.folder("rules");
        conformance::run_up_to(3, "tasks", tasks::CHECKS, async |check| {
            let folder = folder.join(check);
            std::fs::create_dir_all(&folder).unwrap();
            life.subject(&bench, folder)
        })
        .await;
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn the_rules_hold_with_shims_of_1_6() {
    need!(root, clients);
    keeps_the_rules(Kind::Containerd(Version::V1_6));
}

#[test]
fn the_rules_hold_with_shims_of_2() {
    need!(root, clients);
    keeps_the_rules(Kind::Containerd(Version::V2));
}

#[test]
fn the_rules_hold_with_our_own_shim() {
    need!(root, clients, stowd);
    keeps_the_rules(Kind::Stowd);
}
