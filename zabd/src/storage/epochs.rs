//! The two epochs that a server promises by, in a small file that is kept twice.
//!
//! While a server runs they are written through the log thread ([`EpochFile::write`]), in one order with the
//! transactions: a promise and what it is about must not overtake each other. At a start [`EpochFile::load`] reads them, and
//! settles what a crash between log and epochs can leave.
//!
//! Both stand in one file, unlike Java's `acceptedEpoch` and `currentEpoch`: so they cannot go missing apart from each
//! other. The file is kept twice, beside the snapshot and beside the log, which may be on another disk: nobody else knows
//! what this server has promised, so this is the one thing that others cannot give back when it is damaged or lost. The
//! bytes are described in `docs/file-formats.md`.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::disk::Disk;
use super::layout::Layout;
use super::log_thread::DurableWrite;
use super::small_file::{seal, unseal, write_atomically};

/// The two epochs. `current <= accepted` in everything that is read or written here.
///
/// ZooKeeper: `QuorumPeer.getAcceptedEpoch`, `getCurrentEpoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that this server has agreed to: it follows no lower one.
    pub accepted: i64,
    /// The newest epoch whose whole initial history is in this server's log.
    pub current: i64,
}

/// Where the epochs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochFile {
    path: PathBuf,
    /// With the same contents, once a write is done.
    copy: PathBuf,
}

/// Why a server cannot start with the epochs that it finds. Each is for the operator to act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The file is not what was written, and neither is its copy.
    #[error("{} is damaged ({detail}), and {} is no help. {REPAIR}", path.display(), copy.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its copy.
        copy: PathBuf,
        /// What does not fit.
        detail: &'static str,
    },

    /// The log has transactions of an epoch that the server never agreed to.
    #[error(
        "the newest transaction is {last}, of epoch {}, but {} says that epoch {accepted} is the newest one that was \
         agreed to: log and epochs are not of one history. {REPAIR}", last.epoch(), path.display()
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// The epoch in it.
        accepted: i64,
        /// The newest transaction.
        last: Zxid,
    },

    /// The disk.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

impl EpochFile {
    /// The file in `<dataDir>/zabd`, and its copy beside the log.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            path: layout.root.join(FILE_NAME),
            copy: layout.log_dir.join(FILE_NAME),
        }
    }

    /// The write that stores the epochs, for the log thread.
    #[must_use]
    pub fn write(&self, epochs: Epochs) -> DurableWrite {
        DurableWrite::SmallFile {
            path: self.path.clone(),
            copy: Some(self.copy.clone()),
            bytes: epochs.encode(),
        }
    }

    /// The epochs of a server whose newest transaction is `last`. What had to be settled is durable when they are
    /// returned.
    ///
    /// | found | what becomes of it |
    /// |---|---|
    /// | one file only, or one that is not damaged | that one counts |
    /// | two that differ | the newer promise of each kind: a crash came between writing the one and the other |
    /// | no file | both are the epoch of `last`, as in Java: the server stood alone until now, or is new |
    /// | `current` < epoch of `last` ≤ `accepted` | `current` becomes that epoch: the server went down between logging the first transactions of an epoch and storing it. The epoch's initial history comes before them in the log, so it is whole |
    /// | `accepted` < epoch of `last` | refused |
    ///
    /// ZooKeeper: `QuorumPeer.loadDataBase`, which refuses in the second case too.
    ///
    /// # Errors
    /// Everything in [`EpochError`].
    pub fn load<D: Disk>(&self, disk: &D, last: Zxid) -> Result<Epochs, EpochError> {
        let (first, second) = (self.read(disk, &self.path)?, self.read(disk, &self.copy)?);
        if let (Found::Damaged(detail), Found::Damaged(_) | Found::Nothing)
        | (Found::Nothing, Found::Damaged(detail)) = (&first, &second)
        {
            return Err(EpochError::Damaged {
                path: self.path.clone(),
                copy: self.copy.clone(),
                detail,
            });
        }
        let are_alike = first == second;
        let stored = match (first, second) {
            (Found::Epochs(first), Found::Epochs(second)) => Some(Epochs {
                accepted: first.accepted.max(second.accepted),
                current: first.current.max(second.current),
            }),
            (Found::Epochs(found), _) | (_, Found::Epochs(found)) => Some(found),
            _ => None,
        };
        let settled = match stored {
            None => {
                if last > Zxid::ZERO {
                    tracing::info!(%last, "no epochs are stored; they are taken from the newest transaction");
                }
                Epochs {
                    accepted: last.epoch(),
                    current: last.epoch(),
                }
            }
            Some(Epochs { accepted, .. }) if accepted < last.epoch() => {
                return Err(EpochError::Behind {
                    path: self.path.clone(),
                    accepted,
                    last,
                });
            }
            Some(Epochs { accepted, current }) => Epochs {
                accepted,
                current: current.max(last.epoch()),
            },
        };
        if stored != Some(settled) || !are_alike {
            self.store(disk, settled)?;
        }
        Ok(settled)
    }

    /// Stores the epochs at a time when no log thread runs; durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn store<D: Disk>(&self, disk: &D, epochs: Epochs) -> Result<(), EpochError> {
        for path in [&self.path, &self.copy] {
            write_atomically(disk, path, &epochs.encode()).map_err(failed("write", path))?;
        }
        Ok(())
    }

    /// Whether the file or its copy is there.
    ///
    /// # Errors
    /// The disk's.
    pub fn exists<D: Disk>(&self, disk: &D) -> Result<bool, EpochError> {
        for path in [&self.path, &self.copy] {
            if disk
                .read_whole(path)
                .map_err(failed("read", path))?
                .is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read<D: Disk>(&self, disk: &D, path: &Path) -> Result<Found, EpochError> {
        let Some(bytes) = disk.read_whole(path).map_err(failed("read", path))? else {
            return Ok(Found::Nothing);
        };
        Ok(match Epochs::decode(&bytes) {
            Ok(epochs) => Found::Epochs(epochs),
            Err(detail) => {
                tracing::warn!(path = %path.display(), detail, "epochs are damaged; there should be another copy");
                Found::Damaged(detail)
            }
        })
    }
}

/// What one of the two files holds.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Damaged(&'static str),
    Epochs(Epochs),
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> EpochError + use<'a> {
    move |source| EpochError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

impl Epochs {
    fn encode(self) -> Vec<u8> {
        let Self { accepted, current } = self;
        seal(&format!("accepted {accepted}\ncurrent {current}\n"))
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut values = [0; 2];
        let mut lines = unseal(bytes)?.split('\n');
        for (value, name) in values.iter_mut().zip(["accepted ", "current "]) {
            *value = lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.parse().ok())
                .ok_or("it does not name two epochs")?;
        }
        let [accepted, current] = values;
        let epochs = Self { accepted, current };
        if epochs.encode() != bytes {
            return Err("it names more than two epochs");
        }
        if current < 0 {
            return Err("an epoch is below zero");
        }
        if accepted < current {
            return Err("the current epoch is above the accepted one");
        }
        Ok(epochs)
    }
}

/// The name of both files.
pub const FILE_NAME: &str = "epochs";

const REPAIR: &str = "What this server has promised to others is not known any more: do not remove the file alone. \
                      If the ensemble has a quorum without this server, move all its zabd directories away and let it \
                      synchronise from the others";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{Crash, SimDisk};

    fn file() -> EpochFile {
        EpochFile::new(&Layout::new(Path::new("/data"), Path::new("/logs")))
    }

    fn epochs(accepted: i64, current: i64) -> Epochs {
        Epochs { accepted, current }
    }

    fn store(disk: &SimDisk, bytes: &[u8]) {
        write_atomically(disk, &file().path, bytes).unwrap();
    }

    /// The layout of docs/file-formats.md, with a checksum that another implementation computed.
    #[test]
    fn the_bytes_are_those_that_the_document_describes() {
        assert_eq!(
            epochs(7, 5).encode(),
            b"accepted 7\ncurrent 5\ncrc b95343c4\n"
        );
        assert_eq!(
            file().path.file_name().and_then(|name| name.to_str()),
            Some("epochs")
        );
    }

    #[test]
    fn what_is_stored_is_read_again_and_settled_by_the_log() {
        let zxid = |epoch: i64| Zxid(epoch << 32 | 3);
        let table = [
            // stored, newest transaction, found
            (None, Zxid::ZERO, epochs(0, 0)),
            (None, zxid(4), epochs(4, 4)),
            (Some(epochs(7, 5)), zxid(5), epochs(7, 5)),
            (Some(epochs(7, 5)), zxid(2), epochs(7, 5)),
            (Some(epochs(7, 5)), Zxid::ZERO, epochs(7, 5)),
            (Some(epochs(7, 5)), zxid(6), epochs(7, 6)),
            (Some(epochs(7, 5)), zxid(7), epochs(7, 7)),
        ];
        for (stored, last, expected) in table {
            let disk = SimDisk::new(1);
            if let Some(stored) = stored {
                store(&disk, &stored.encode());
            }
            assert_eq!(file().load(&disk, last).unwrap(), expected, "{stored:?}");
            disk.reboot(Crash::Power);
            // It was durable: what the log said is not needed any more.
            assert_eq!(
                file().load(&disk, Zxid::ZERO).unwrap(),
                expected,
                "{stored:?} again"
            );
        }
    }

    #[test]
    fn transactions_of_an_epoch_never_agreed_to_are_refused() {
        let disk = SimDisk::new(1);
        store(&disk, &epochs(7, 5).encode());
        let error = file().load(&disk, Zxid(8 << 32 | 1)).unwrap_err();
        assert!(
            matches!(error, EpochError::Behind { accepted: 7, .. }),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("/data/zabd/epochs") && message.contains("0x800000001"),
            "{message}"
        );
    }

    #[test]
    fn anything_but_what_was_written_is_damage() {
        let good = epochs(17, 15).encode();
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Epochs::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(Epochs::decode(&good[..len]).is_err(), "{len} bytes");
        }
        assert!(Epochs::decode(&[&good[..], b"\n"].concat()).is_err());
        for wrong in [epochs(4, 5), epochs(3, -1), epochs(-2, -2)] {
            assert!(Epochs::decode(&wrong.encode()).is_err(), "{wrong:?}");
        }
        let disk = SimDisk::new(1);
        store(&disk, b"");
        let error = file().load(&disk, Zxid::ZERO).unwrap_err();
        assert!(matches!(error, EpochError::Damaged { .. }), "{error}");
    }

    /// What was promised is known as long as one of the two files is.
    #[test]
    fn either_file_is_enough() {
        let (old, new) = (epochs(7, 5).encode(), epochs(9, 7).encode());
        let (garbage, nothing) = (b"accepted".to_vec(), Vec::new());
        for (first, second, expected) in [
            (&new, None, Some(epochs(9, 7))),
            (&new, Some(&new), Some(epochs(9, 7))),
            (&new, Some(&old), Some(epochs(9, 7))),
            (&old, Some(&new), Some(epochs(9, 7))),
            (&new, Some(&garbage), Some(epochs(9, 7))),
            (&garbage, Some(&new), Some(epochs(9, 7))),
            (&nothing, Some(&old), Some(epochs(7, 5))),
            (&garbage, Some(&nothing), None),
            (&garbage, None, None),
        ] {
            let disk = SimDisk::new(1);
            store(&disk, first);
            if let Some(second) = second {
                write_atomically(&disk, &file().copy, second).unwrap();
            }
            let found = file().load(&disk, Zxid::ZERO).ok();
            assert_eq!(found, expected, "{first:?} {second:?}");
            let Some(expected) = expected else {
                continue;
            };
            disk.reboot(Crash::Power);
            for path in [file().path, file().copy] {
                let bytes = disk.read_whole(&path).unwrap();
                assert_eq!(bytes, Some(expected.encode()), "both are as they should be");
            }
        }
        let disk = SimDisk::new(1);
        write_atomically(&disk, &file().copy, &new).unwrap();
        assert_eq!(file().load(&disk, Zxid::ZERO).unwrap(), epochs(9, 7));
    }

    #[test]
    fn a_crash_while_settling_is_settled_at_the_next_start() {
        for at in 0..8 {
            for seed in 0..20 {
                let disk = SimDisk::new(seed);
                store(&disk, &epochs(9, 5).encode());
                disk.crash_at(disk.operations() + at);
                let settled = file().load(&disk, Zxid(8 << 32));
                disk.reboot(Crash::Power);
                let now = file().load(&disk, Zxid::ZERO).unwrap();
                if let Ok(settled) = settled {
                    assert_eq!(now, settled);
                }
                assert!([epochs(9, 5), epochs(9, 8)].contains(&now), "{now:?}");
            }
        }
    }
}
