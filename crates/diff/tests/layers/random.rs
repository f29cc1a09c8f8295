//! Trees changed at random: what the directories of an overlay tell must be what the kernel shows.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use stowd_core::descriptor::media_type;
use stowd_core::diff::Placement;
use stowd_core::mount::Mount;
use stowd_testing::mounts::Mounted;

use crate::bench::{Bench, bind, names, overlay};
use crate::tree::describe;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Few names, so that they meet again.
    fn path(&mut self, top: &Path) -> PathBuf {
        let mut path = top.to_path_buf();
        for _ in 0..=self.roll(3) {
            path.push(["a", "b", "c", "d", "e"][self.roll(5) as usize]);
        }
        path
    }

    /// Does something that may well be impossible where it comes.
    fn change(&mut self, top: &Path) {
        let (one, other) = (self.path(top), self.path(top));
        let content = vec![b'x'; self.roll(3) as usize * 1000];
        drop(match self.roll(9) {
            0 | 1 => fs::create_dir_all(&one),
            2 | 3 => fs::write(&one, content),
            4 => fs::remove_file(&one),
            5 => fs::remove_dir_all(&one),
            6 => symlink("a/b", &one),
            7 => fs::hard_link(&one, &other),
            _ if one.is_symlink() => Ok(()),
            _ => {
                let mode = if one.is_dir() { 0o700 } else { 0o600 } | self.roll(8) as u32;
                fs::set_permissions(&one, fs::Permissions::from_mode(mode))
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_tell_what_the_kernel_shows() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    for seed in 0..10 {
        let folder = |name: &str| bench.folder(&format!("{seed}-{name}"));
        let mut dice = Dice(seed);
        let layers: Vec<PathBuf> = (0..4).map(|number| folder(&number.to_string())).collect();
        (0..40).for_each(|_| dice.change(&layers[0]));
        // Each tree is made upon the one before, in the kernel's way.
        let mut shown: Vec<Vec<Mount>> = vec![bind(&layers[0])];
        for height in 1..layers.len() {
            let below: Vec<&Path> = layers[..height].iter().rev().map(PathBuf::as_path).collect();
            let mounts = overlay(&layers[height], &below, &[]);
            let mounted = Mounted::at(&folder("change"), &mounts);
            (0..15).for_each(|_| dice.change(mounted.path()));
            drop(mounted);
            shown.push(mounts);
        }
        for (low, high) in [(0, 3), (1, 2), (3, 1), (2, 0)] {
            let told = bench.compare(&shown[low], &shown[high]).await.unwrap();
            let lower = Mounted::at(&folder("lower"), &shown[low]);
            let upper = Mounted::at(&folder("upper"), &shown[high]);
            let (one, other) = (bind(lower.path()), bind(upper.path()));
            let seen = bench.compare(&one, &other).await.unwrap();
            assert_eq!(names(&told), names(&seen), "seed {seed}, {low} to {high}");
            assert!(told == seen, "seed {seed}, {low} to {high}");
            let wanted = describe(upper.path());
            drop(upper);

            // And it leads there.
            let new = folder(&format!("new-{low}-{high}"));
            let mounts = overlay(&new, &[lower.path()], &[]);
            bench.apply(&mounts, Placement::OnParents, media_type::LAYER, told).await.unwrap();
            let applied = Mounted::at(&folder("applied"), &mounts);
            // Overlays keep names of one file together only where they were copied up together.
            let links = |text: &str| {
                let text = text.split(" = ").next().unwrap();
                let (start, rest) = text.split_once(" links ").unwrap_or((text, ""));
                format!("{start} {}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
            };
            let without: fn(_) -> Vec<_> =
                |tree: std::collections::BTreeMap<String, String>| tree.into_iter().collect();
            let (got, wanted) = (without(describe(applied.path())), without(wanted));
            for ((name, got), (_, wanted)) in got.iter().zip(&wanted) {
                assert_eq!(links(got), links(wanted), "seed {seed}, {low} to {high}: {name}");
            }
            assert_eq!(got.len(), wanted.len());
        }
    }
}
