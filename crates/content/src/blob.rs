//! Reading blobs.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use stowd_core::content::Blob;
use stowd_core::{Digest, Error, Result};

use crate::blocking;

/// Up to here a read of cached data is done in place.
const INLINE: usize = 256 << 10;

/// An open blob.
pub(crate) struct LocalBlob {
    digest: Digest,
    file: Arc<File>,
    size: u64,
}

impl LocalBlob {
    pub(crate) fn new(digest: Digest, file: File, size: u64) -> Self {
        Self { digest, file: Arc::new(file), size }
    }
}

#[async_trait]
impl Blob for LocalBlob {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let left = self.size.saturating_sub(offset);
        let len = usize::try_from(left).map_or(len, |left| left.min(len));
        if len == 0 {
            return Ok(Bytes::new());
        }
        if len <= INLINE {
            let mut buffer = vec![0; len];
            let slices = &mut [IoSliceMut::new(&mut buffer)];
            // Not in the page cache: the kernel says so instead of waiting for the disk.
            match rustix::io::preadv2(&*self.file, slices, offset, ReadWriteFlags::NOWAIT) {
                Ok(read) if read == len => return Ok(buffer.into()),
                Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {}
                Err(error) => return Err(self.failed(&error.into())),
            }
        }
        let (file, digest) = (self.file.clone(), self.digest.clone());
        blocking(move || {
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, offset).map_err(|error| failed(&digest, &error))?;
            Ok(buffer.into())
        })
        .await
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

impl LocalBlob {
    fn failed(&self, error: &std::io::Error) -> Error {
        failed(&self.digest, error)
    }
}

fn failed(digest: &Digest, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::data_loss(format_args!("content {digest} is shorter than it was"))
            .hint("delete the blob and pull the image again");
    }
    Error::io(format_args!("read content {digest}"), error)
}
