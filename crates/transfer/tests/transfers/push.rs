//! Pushing to a real registry.

use std::sync::Arc;

use stowd_core::ErrorKind;
use stowd_core::transfer::{Destination, Source, Store, Transfer as _};
use stowd_testing::image::{Image, Index, Layer};
use stowd_testing::{Registry, Scratch, need};

use crate::bench::{Bench, Reports, registry, scope, unpacking};
use crate::pull::image;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_can_be_pulled() {
    need!(root, overlayfs, clients);
    let (scratch, bench, first, second) = (Scratch::new(), Bench::new().await, scope(), scope());
    let hub = Registry::start(&scratch);
    let (ours, other) = (image(), Image::of(&[Layer::new().file("x", "x")]).architecture("s390x"));
    let from = hub.push_index("deck/from", "v1", &Index::of([other, ours.clone()]));
    bench.pull(&first, &from, Store::default()).await.unwrap();

    let to = format!("{}/deck/to:v2", hub.host());
    let reports = Arc::new(Reports::default());
    let push = |name: &str| {
        let source = Source::Images(vec![name.to_owned()]);
        let destination = Destination::Registry(registry(&to));
        bench.local.transfer(&first, source, destination, reports.clone())
    };
    push(&from).await.unwrap();
    let told = reports.0.lock().unwrap().clone();
    assert!(told.iter().any(|it| it.event == "pushed content" && it.name == from));
    bench.pull(&second, &to, unpacking("")).await.unwrap();
    bench.check(&second, &ours, "overlayfs").await;
    bench.check_tidy(&first).await;
    assert_eq!(push("absent").await.unwrap_err().kind(), ErrorKind::NotFound);
}
