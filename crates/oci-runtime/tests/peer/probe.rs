//! The script that runs in a container and prints what it sees.

/// What every container is asked. Each section starts with a line of its own; `END` ends the last.
///
/// It uses busybox by its full path, as some specifications leave nothing else to be found, and
/// reads about the shell itself (`$$`) where a child of it could differ.
const QUESTIONS: &str = r#"
exec 2>&1
b=/bin/busybox
s() { echo "=== $1"; }
s mounts; $b cat /proc/self/mountinfo
s status; $b cat /proc/$$/status
s cgroup; $b cat /proc/self/cgroup
s limits; $b cat /proc/$$/limits
s environment; $b tr '\0' '\n' < /proc/$$/environ; echo "home is $HOME"
s process; $b cat /proc/$$/comm; $b tr '\0' '\n' < /proc/$$/cmdline | $b head -2; leader() {
  # Ids of processes depend on how many it took to get here; whom they are shared with does not.
  $b test $3 = $1 && echo leads its group; $b test $4 = $1 && echo leads its session
  echo "terminal $5 nice ${17} priority ${16} ${38} policy ${39}"
}
leader $$ $($b cut -d' ' -f4- /proc/$$/stat)
$b cat /proc/$$/oom_score_adj /proc/$$/attr/current /proc/$$/personality; umask; pwd; $b readlink /proc/$$/exe /proc/$$/root /proc/$$/cwd
s descriptors
for fd in /proc/$$/fd/*; do echo "${fd##*/} $($b readlink $fd) $($b stat -L -c '%A %u %g' $fd)"; done
s names; $b hostname; $b cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname
s devices; $b stat -c '%N %A %u %g %t:%T' $($b find /dev /dev/pts/ /dev/shm/ /dev/mqueue/ | $b sort -u)
s root; $b stat -c '%N %A %u %g' / /* /proc/ /sys/ /run/ /tmp/ /etc/*
s network; $b ip addr; $b ip route; $b cat /proc/net/dev | $b cut -d: -f1
s kernel; for f in kernel/shmmax kernel/msgmax kernel/sem net/ipv4/ip_forward net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range fs/mqueue/msg_max kernel/keys/maxkeys; do echo "$f $($b cat /proc/sys/$f)"; done
s protected
for f in /proc/kcore /proc/keys /proc/timer_list /proc/sysrq-trigger /proc/sys/kernel/domainname /proc/acpi /proc/scsi /proc/irq /proc/bus /sys/firmware /proc/interrupts /proc/self/uid_map; do
  echo "$f $($b stat -c '%F %A %u %g %t:%T' $f) $($b test -w $f && echo writable)"
  $b ls -A $f > /dev/null
done
for f in /proc/kcore /proc/keys /proc/timer_list; do echo "$f $($b head -c 64 $f | $b wc -c)"; done
for f in /proc/sysrq-trigger /proc/sys/kernel/domainname /sys/kernel/profiling; do ( : >> $f ) && echo "$f can be opened"; done
$b touch /written /etc/written /proc/written /sys/written /dev/written /tmp/written /run/written
$b mkdir /dir-made
$b rm -rf /written /etc/written /dev/written /tmp/written /run/written /dir-made
s signals; $b grep ^Sig[BI] /proc/$$/status; $b grep ^Shd /proc/$$/status
"#;

/// Marks the end of the answers; the script then waits for a line, so that the host can look.
pub(crate) const END: &str = "=== end";

/// The whole script; `more` are questions of a specification's own.
pub(crate) fn script(more: &str) -> String {
    format!("{QUESTIONS}\ns more\n{more}\necho '{END}'\nread line\nexit 7\n")
}
