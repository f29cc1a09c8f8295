//! Images, pulled, imported and unpacked.

use std::sync::Arc;

use stowd_client::Pull;
use stowd_core::progress::Silent;
use stowd_testing::Registry;

use crate::Rig;

crate::on_both!(an_image_is_pulled, an_image_is_unpacked_on_demand, work_under_a_lease);

async fn an_image_is_pulled(rig: &Rig) {
    let registry = Registry::start(&rig.scratch);
    let built = stowd_testing::image::Image::busybox();
    let name = registry.push("busybox", "1", &built);
    let mut pull = Pull::of(&name);
    pull.from.plain_http = true;
    let image = rig.client.pull_with(pull, Arc::new(Silent)).await.unwrap();
    assert_eq!(image.name(), name);
    assert!(image.is_unpacked("").await.unwrap());
    assert!(image.check().await.unwrap().missing.is_empty());
    assert_eq!(image.manifest().await.unwrap().layers.len(), 1);
    assert_eq!(image.config().await.unwrap().cmd, ["/bin/sh"]);
    assert_eq!(image.chain_id().await.unwrap(), built.layers[0].diff_id);
    let mut absent = Pull::of(format!("{}/absent:1", registry.host()));
    absent.from.plain_http = true;
    assert!(rig.client.pull(absent).await.unwrap_err().is_not_found());
}

async fn an_image_is_unpacked_on_demand(rig: &Rig) {
    let image = rig.import(None).await;
    assert!(!image.is_unpacked("").await.unwrap());
    let container = rig.client.new_container("c").image(&image).create().await.unwrap();
    assert!(image.is_unpacked("overlayfs").await.unwrap());
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
    // Again, where nothing is to be done.
    image.unpack("").await.unwrap();
    rig.nothing_is_left().await;
}

async fn work_under_a_lease(rig: &Rig) {
    use stowd_core::leases::Store as _;
    use stowd_core::snapshots::Snapshotter as _;
    let (leased, lease) = rig.client.lease().await.unwrap();
    let snapshots = leased.connection().snapshotter("overlayfs");
    snapshots.prepare(leased.scope(), "held", None, Default::default()).await.unwrap();
    let leases = rig.client.connection().leases();
    let held = leases.resources(rig.client.scope(), &lease).await.unwrap();
    assert!(held.iter().any(|it| it.kind == "snapshots/overlayfs" && it.id == "held"), "{held:?}");
    rig.client.release(&lease).await.unwrap();
    // To give it back twice does no harm.
    rig.client.release(&lease).await.unwrap();
    let _ = snapshots.remove(rig.client.scope(), "held").await;
    rig.nothing_is_left().await;
}
