//! What mounts of a snapshot show.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::{Subject, entries, layer, look, prepare, read, view_of, write};

pub(super) async fn the_first_tree_is_empty_and_open_to_all(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    let mounted = view_of(it, "k", &mounts);
    assert_eq!(entries(mounted.path()), [""; 0]);
    let mode = fs::metadata(mounted.path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o755, "mode of the root folder {mode:o}");
    mounted.unmount();
}

pub(super) async fn a_child_shows_its_parents_files(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("low"), "from a");
        write(top.join("both"), "from a");
        fs::create_dir(top.join("d")).unwrap();
        write(top.join("d/x"), "from a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        assert_eq!(read(top.join("low")), "from a");
        write(top.join("both"), "from b");
        write(top.join("d/y"), "from b");
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(entries(top), ["both", "d", "low"]);
        assert_eq!(entries(&top.join("d")), ["x", "y"]);
        assert_eq!(read(top.join("low")), "from a");
        assert_eq!(read(top.join("both")), "from b");
    })
    .await;
}

pub(super) async fn changes_of_a_child_stay_in_the_child(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("kept"), "a");
        write(top.join("gone"), "a");
        fs::create_dir(top.join("d")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        write(top.join("kept"), "b");
        fs::remove_file(top.join("gone")).unwrap();
        fs::remove_dir(top.join("d")).unwrap();
        write(top.join("new"), "b");
    })
    .await;
    look(it, "a", |top| {
        assert_eq!(entries(top), ["d", "gone", "kept"]);
        assert_eq!(read(top.join("kept")), "a");
    })
    .await;
    look(it, "b", |top| assert_eq!(entries(top), ["kept", "new"])).await;
}

pub(super) async fn siblings_do_not_see_each_other(it: &Subject) {
    layer(it, "a", None, |top| write(top.join("f"), "a")).await;
    let (one, two) = (prepare(it, "one", Some("a")).await, prepare(it, "two", Some("a")).await);
    let (one, two) = (view_of(it, "one", &one), view_of(it, "two", &two));
    write(one.path().join("f"), "one");
    write(one.path().join("g"), "one");
    assert_eq!(read(two.path().join("f")), "a");
    assert_eq!(entries(two.path()), ["f"]);
    one.unmount();
    two.unmount();
}

pub(super) async fn deleted_files_stay_deleted(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "a");
        write(top.join("g"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| fs::remove_file(top.join("f")).unwrap()).await;
    layer(it, "c", Some("b"), |top| {
        assert_eq!(entries(top), ["g"]);
        write(top.join("h"), "c");
    })
    .await;
    look(it, "c", |top| assert_eq!(entries(top), ["g", "h"])).await;
    layer(it, "d", Some("c"), |top| write(top.join("f"), "again")).await;
    look(it, "d", |top| {
        assert_eq!(entries(top), ["f", "g", "h"]);
        assert_eq!(read(top.join("f")), "again");
    })
    .await;
}

pub(super) async fn a_removed_folder_comes_back_empty(it: &Subject) {
    layer(it, "a", None, |top| {
        fs::create_dir_all(top.join("d/e")).unwrap();
        write(top.join("d/e/f"), "a");
        write(top.join("d/g"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::remove_dir_all(top.join("d")).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        write(top.join("d/h"), "b");
    })
    .await;
    look(it, "b", |top| assert_eq!(entries(&top.join("d")), ["h"])).await;
    layer(it, "c", Some("b"), |top| write(top.join("d/i"), "c")).await;
    look(it, "c", |top| assert_eq!(entries(&top.join("d")), ["h", "i"])).await;
}

pub(super) async fn a_file_can_replace_a_folder(it: &Subject) {
    layer(it, "a", None, |top| {
        fs::create_dir(top.join("x")).unwrap();
        write(top.join("x/inside"), "a");
        write(top.join("y"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::remove_dir_all(top.join("x")).unwrap();
        write(top.join("x"), "now a file");
        fs::remove_file(top.join("y")).unwrap();
        fs::create_dir(top.join("y")).unwrap();
        write(top.join("y/inside"), "b");
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(read(top.join("x")), "now a file");
        assert_eq!(entries(&top.join("y")), ["inside"]);
    })
    .await;
}

pub(super) async fn renamed_files_have_moved(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("from"), "moved");
        fs::create_dir(top.join("d")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::rename(top.join("from"), top.join("d/to")).unwrap();
        fs::create_dir(top.join("new")).unwrap();
        fs::rename(top.join("new"), top.join("renamed")).unwrap();
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(entries(top), ["d", "renamed"]);
        assert_eq!(read(top.join("d/to")), "moved");
    })
    .await;
}

pub(super) async fn permissions_and_owners_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        std::os::unix::fs::chown(top.join("f"), Some(1234), Some(5678)).unwrap();
        fs::set_permissions(top.join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    })
    .await;
    look(it, "b", |top| {
        let file = fs::metadata(top.join("f")).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1234, 5678, 0o4751));
        assert_eq!(fs::metadata(top.join("d")).unwrap().mode() & 0o7777, 0o700);
    })
    .await;
    look(it, "a", |top| {
        assert_eq!(fs::metadata(top.join("d")).unwrap().mode() & 0o7777, 0o1777);
    })
    .await;
}

pub(super) async fn hard_links_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        fs::hard_link(top.join("f"), top.join("g")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |_| {}).await;
    look(it, "b", |top| {
        let (f, g) = (fs::metadata(top.join("f")).unwrap(), fs::metadata(top.join("g")).unwrap());
        assert_eq!(f.ino(), g.ino());
        assert_eq!(f.nlink(), 2);
    })
    .await;
}

pub(super) async fn symbolic_links_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        symlink("target", top.join("near")).unwrap();
        symlink("/no/where", top.join("far")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| fs::remove_file(top.join("far")).unwrap()).await;
    look(it, "b", |top| {
        assert_eq!(fs::read_link(top.join("near")).unwrap(), Path::new("target"));
        assert_eq!(entries(top), ["near"]);
    })
    .await;
}

pub(super) async fn extended_attributes_are_kept(it: &Subject) {
    // Capabilities of a file are an attribute, and images have them.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        setxattr(top.join("f"), "user.example", b"value", XattrFlags::empty()).unwrap();
        setxattr(top.join("f"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |_| {}).await;
    look(it, "b", |top| {
        let mut value = [0; 32];
        let length = getxattr(top.join("f"), "user.example", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"value");
        let length = getxattr(top.join("f"), "security.capability", &mut value[..]).unwrap();
        assert_eq!(&value[..length], CAPABILITY);
    })
    .await;
}

pub(super) async fn time_stamps_are_kept(it: &Subject) {
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        fs::File::options().write(true).open(top.join("f")).unwrap().set_modified(time).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| write(top.join("g"), "y")).await;
    look(it, "b", |top| {
        assert_eq!(fs::metadata(top.join("f")).unwrap().modified().unwrap(), time);
    })
    .await;
}

pub(super) async fn a_file_of_a_lower_tree_can_be_changed(it: &Subject) {
    use std::io::Write as _;
    layer(it, "a", None, |top| write(top.join("log"), "one\n")).await;
    layer(it, "b", Some("a"), |top| {
        let mut file = fs::File::options().append(true).open(top.join("log")).unwrap();
        file.write_all(b"two\n").unwrap();
    })
    .await;
    look(it, "b", |top| assert_eq!(read(top.join("log")), "one\ntwo\n")).await;
    look(it, "a", |top| assert_eq!(read(top.join("log")), "one\n")).await;
}

pub(super) async fn many_trees_stack(it: &Subject) {
    const DEPTH: usize = 40;
    let mut parent: Option<String> = None;
    for number in 0..DEPTH {
        // As long as real chain ids are: mount options have a limit of one page.
        let name = format!("sha256:{number:064}");
        layer(it, &name, parent.as_deref(), |top| {
            write(top.join(format!("f{number}")), "x");
            write(top.join("last"), &number.to_string());
            if number > 0 {
                fs::remove_file(top.join(format!("f{}", number - 1))).unwrap();
            }
        })
        .await;
        parent = Some(name);
    }
    let top = parent.unwrap_or_default();
    look(it, &top, |top| {
        assert_eq!(entries(top), [format!("f{}", DEPTH - 1), "last".to_owned()]);
        assert_eq!(read(top.join("last")), (DEPTH - 1).to_string());
    })
    .await;
}
