//! glibc's allocator, told to give memory back.

/// Keeps the heap small in a process with several threads: two arenas instead of eight for each
/// processor, and free memory at the heap's end goes back to the kernel early. Call it before
/// threads are started.
///
/// On other libraries than glibc it does nothing.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: libc::c_int = 2;
        const TRIM_BYTES: libc::c_int = 128 << 10;
        // SAFETY: mallopt reads its two numbers and stores them under the allocator's own lock.
        // What it returns says whether it took them; if not, the heap is only larger.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
            // A set threshold no longer grows with use, so that large buffers stay out of the heap.
            libc::mallopt(libc::M_MMAP_THRESHOLD, TRIM_BYTES);
        }
    }
}
