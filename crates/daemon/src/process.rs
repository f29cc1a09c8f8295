//! What the daemon does to its own process.

/// Sets how readily the kernel kills the daemon when memory is short, -1000 (never) to 1000. A kernel
/// that refuses is logged: the daemon works all the same.
pub(crate) fn set_oom_score(score: i32) {
    let path = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(path).unwrap_or_default();
    if now.trim() == score.to_string() {
        return;
    }
    if let Err(error) = std::fs::write(path, score.to_string()) {
        tracing::warn!(%error, score, "could not set oom_score");
    }
}
