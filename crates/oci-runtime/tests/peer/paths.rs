//! Masked and read-only paths.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::case::compare;

#[test]
fn files_and_folders_masked() {
    compare(|case| {
        std::fs::create_dir_all(case.rootfs.join("secret/deep")).unwrap();
        std::fs::write(case.rootfs.join("secret/deep/file"), "hidden\n").unwrap();
        std::fs::write(case.rootfs.join("etc/key"), "hidden\n").unwrap();
        symlink("/etc/key", case.rootfs.join("etc/link")).unwrap();
        case.spec["linux"]["maskedPaths"] = json!([
            "/secret",
            "/etc/key",
            "/not/there",
            "/proc/kcore",
            "/sys/firmware",
            "/sys/kernel/mm",
            "/dev/zero",
            "/proc/self/fdinfo"
        ]);
        case.more =
            "$b ls -la /secret /sys/kernel/mm | $b awk '{print $1, $9}'; $b touch /secret/x; \
                     $b cat /etc/key /etc/link; echo x > /etc/key; $b head -c1 /dev/zero | $b wc -c"
                .into();
    });
}

#[test]
fn files_and_folders_read_only() {
    compare(|case| {
        std::fs::create_dir_all(case.rootfs.join("fixed/deep")).unwrap();
        std::fs::write(case.rootfs.join("etc/fixed"), "content\n").unwrap();
        symlink("fixed", case.rootfs.join("etc/link")).unwrap();
        case.mount("tmpfs", "t", "/fixed/deep", &["size=16k"]);
        case.spec["linux"]["readonlyPaths"] = json!([
            "/fixed",
            "/etc/fixed",
            "/not/there",
            "/proc/sys",
            "/etc/link",
            "/dev/shm",
            "/proc/irq"
        ]);
        case.more = "$b touch /fixed/x /fixed/deep/x /etc/fixed /dev/shm/x; $b cat /etc/fixed; \
                     echo x > /proc/sys/kernel/shm_rmid_forced"
            .into();
    });
}

#[test]
fn nothing_masked_or_protected() {
    compare(|case| {
        case.spec["linux"]["maskedPaths"] = json!([]);
        case.spec["linux"]["readonlyPaths"] = json!([]);
        case.spec["mounts"][0]["options"] = json!(["ro"]);
        // The session's keyring with its name; serial numbers and times are other ones each time.
        case.more = format!(
            "$b grep '_ses.{}:' /proc/keys | $b awk '{{print $2, $4, $5, $6, $7, $8, $9, $10}}' | $b sort -u",
            case.id
        );
    });
}
