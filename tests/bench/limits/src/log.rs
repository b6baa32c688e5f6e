//! A log with group commit and nothing else: no records, no checksums, no recovery.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// The file is filled with zeros first and then written over and over: appending to a file that grows costs more.
const FILE_BYTES: u64 = 64 << 20;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    callers: Vec<oneshot::Sender<()>>,
}

/// A file to which everybody appends.
#[derive(Debug, Default)]
pub(crate) struct Log {
    waiting: Mutex<Waiting>,
    some: Condvar,
}

impl Log {
    /// Makes the file and starts the thread that writes it.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        let file = File::create(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let log = Arc::new(Self::default());
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            if let Err(error) = shared.run(&file) {
                eprintln!("write the log: {error}");
                std::process::exit(1);
            }
        });
        Ok(log)
    }

    /// Appends, and returns when that is on disk.
    pub(crate) async fn append(&self, bytes: &[u8]) {
        let (caller, done) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.bytes.extend_from_slice(bytes);
            waiting.callers.push(caller);
        }
        self.some.notify_one();
        // The writing thread ends with the process only.
        done.await.ok();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, file: &File) -> io::Result<()> {
        let mut at = 0;
        let mut batch = Waiting::default();
        loop {
            {
                let mut waiting = self.lock();
                while waiting.callers.is_empty() {
                    waiting = self
                        .some
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut *waiting, &mut batch);
            }
            let length = batch.bytes.len() as u64;
            if at + length > FILE_BYTES {
                at = 0;
            }
            file.write_all_at(&batch.bytes, at)?;
            file.sync_data()?;
            at += length;
            batch.bytes.clear();
            for caller in batch.callers.drain(..) {
                // Its client may have gone.
                caller.send(()).ok();
            }
        }
    }
}
