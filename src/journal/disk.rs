//! What is asked of the disk itself, and in what sizes. Tests put failures and small sizes here.

use std::fs::File;
use std::io;
use std::path::Path;

type Sync = Box<dyn FnMut(&File) -> io::Result<()> + Send>;
type Free = Box<dyn FnMut(&Path) -> io::Result<u64> + Send>;

pub struct Disk {
    /// Makes what was written to a file durable. Never called again for a file after an error.
    pub sync: Sync,
    /// Bytes that may still be written where this path is.
    pub free: Free,
    /// A segment of the log is closed at the first frame that would end beyond this.
    pub segment_bytes: u64,
    /// Memory that changes take before the index gets them; twice this while it does.
    pub overlay_bytes: usize,
}

impl Default for Disk {
    fn default() -> Disk {
        // Tests that kill the process want all to happen often.
        let small = cfg!(feature = "crash-points") && std::env::var_os("MILLSTREAM_SMALL_STORE").is_some();
        Disk {
            sync: Box::new(File::sync_data),
            free: Box::new(|path| {
                let stat = rustix::fs::statvfs(path)?;
                Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
            }),
            segment_bytes: if small { 256 * 1024 } else { 16 * 1024 * 1024 },
            overlay_bytes: if small { 64 * 1024 } else { 4 * 1024 * 1024 },
        }
    }
}
