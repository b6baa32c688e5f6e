//! A disk in memory that fails on request: the same seed and the same operations give the same outcome.
//!
//! Contents are kept twice, as the machine sees them and as the platter has them, with the sectors in
//! which they differ. [`SimDisk::reboot`] decides for each such sector whether it made it, and for each
//! change of a name since the directory was last synced likewise. Here is what users see; `machine` has the contents.

mod machine;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenMode};
use machine::{Fate, Fault, Inode, NameChange, Rng, State, power_is_off};

/// How the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The power went: what was not synced is kept, lost or torn, sector by sector and name by name.
    Power,
    /// The process was killed: the operating system still has every write.
    Process,
}

/// A simulated disk; clones share it, like several users of one file system.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`]; dead after a reboot.
#[derive(Debug)]
pub struct SimFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    boot: u64,
    writable: bool,
}

/// A held lock of a [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    boot: u64,
}

impl SimDisk {
    /// An empty disk; `seed` decides everything that is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                rng: Rng(seed ^ 0x5afe_d15c),
                boot: 0,
                operations: 0,
                crash_at: None,
                off: false,
                capacity_bytes: None,
                write_fails: None,
                sync_fails: None,
                next_inode: 1,
                inodes: BTreeMap::new(),
                live: BTreeMap::new(),
                durable: BTreeMap::new(),
                pending: Vec::new(),
                locks: BTreeSet::new(),
            })),
        }
    }

    /// A disk of its own with the same contents, pending writes and randomness; what one does the
    /// other does not see. Sectors are shared until they change.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    /// Reseeds what is left to chance from here on.
    pub fn reseed(&self, seed: u64) {
        self.state().rng = Rng(seed ^ 0x5afe_d15c);
    }

    /// Changing operations (create, write, allocate, sync, rename, remove, sync of a directory) so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the machine go down during operation number `operation`, counted as
    /// [`SimDisk::operations`] does: that one happens in part or not at all, and all later ones fail.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// Whether the crash asked for has happened.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Ends this boot: every file handle and lock dies, faults asked for are forgotten, and `crash`
    /// decides what is left of unsynced changes.
    pub fn reboot(&self, crash: Crash) {
        let mut state = self.state();
        state.boot += 1;
        state.off = false;
        state.crash_at = None;
        state.write_fails = None;
        state.sync_fails = None;
        state.locks.clear();
        if crash == Crash::Power {
            state.lose_power();
        }
    }

    /// Limits the sum of file lengths; beyond it writes fail with "no space left". `None` lifts it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// The sum of file lengths.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// After `skip` more writes, the next `times` fail with an IO error, having happened in part.
    pub fn fail_writes(&self, skip: u64, times: u64) {
        self.state().write_fails = Some(Fault { skip, times });
    }

    /// After `skip` more syncs of files, the next `times` fail. As on Linux, what was to be synced is
    /// kept or lost by chance, reads go on showing it, and a later sync reports success without it.
    pub fn fail_syncs(&self, skip: u64, times: u64) {
        self.state().sync_fails = Some(Fault { skip, times });
    }

    /// Changes one bit on the platter, as decay does. False if the file has no such byte.
    #[must_use]
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let mut state = self.state();
        let Some(inode) = state.live.get(path).copied() else {
            return false;
        };
        let Some(inode) = state.inodes.get_mut(&inode) else {
            return false;
        };
        if offset >= inode.current.len {
            return false;
        }
        for image in [&mut inode.current, &mut inode.durable] {
            let mut byte = [0];
            image.read(&mut byte, offset);
            byte[0] ^= 1 << (bit % 8);
            image.write(&byte, offset);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        // Directories are names only here: a file's path is its identity.
        self.state().begin().map(drop)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let mut state = self.state();
        state.powered()?;
        let inode = match (state.live.get(path).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, OpenMode::CreateNew) => {
                if state.begin()? == Fate::Crashes && state.rng.chance(1, 2) {
                    return Err(power_is_off());
                }
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.live.insert(path.to_owned(), inode);
                state
                    .pending
                    .push(NameChange::Create(path.to_owned(), inode));
                state.powered()?;
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let boot = state.boot;
        Ok(SimFile {
            state: Arc::clone(&self.state),
            inode,
            boot,
            writable: mode != OpenMode::Read,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.begin()? == Fate::Crashes && state.rng.chance(1, 2) {
            return Err(power_is_off());
        }
        let inode = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.to_owned(), inode);
        state
            .pending
            .push(NameChange::Rename(from.to_owned(), to.to_owned()));
        state.powered()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.begin()? == Fate::Crashes && state.rng.chance(1, 2) {
            return Err(power_is_off());
        }
        state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.pending.push(NameChange::Remove(path.to_owned()));
        state.powered()
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().powered()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.powered()?;
        let in_dir = state.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.begin()? == Fate::Crashes && state.rng.chance(1, 2) {
            return Err(power_is_off());
        }
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            if change.dir() == Some(dir) {
                change.apply(&mut state.durable);
            } else {
                state.pending.push(change);
            }
        }
        state.powered()
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity_bytes.map_or(u64::MAX, |capacity| {
            capacity.saturating_sub(state.used_bytes())
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        let mut state = self.state();
        state.powered()?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let boot = state.boot;
        Ok(Some(SimLock {
            state: Arc::clone(&self.state),
            path: path.to_owned(),
            boot,
        }))
    }

    fn entropy(&self) -> u64 {
        self.state().rng.next()
    }
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = lock(&self.state);
        if state.boot != self.boot {
            return Err(power_is_off());
        }
        act(&mut state, self.inode)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, inode| {
            state.powered()?;
            Ok(state.inode(inode)?.current.read(buf, offset))
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(|state, inode| {
            let fate = state.begin()?;
            let fault = Fault::strikes(&mut state.write_fails);
            let mut len = bytes.len();
            let grows = (offset + len as u64).saturating_sub(state.inode(inode)?.current.len);
            let room = state
                .capacity_bytes
                .map_or(u64::MAX, |cap| cap.saturating_sub(state.used_bytes()));
            let full = grows > room;
            if full {
                len -= usize::try_from(grows - room).unwrap_or(len).min(len);
            }
            if fate == Fate::Crashes || fault {
                len = state.rng.below(len + 1);
            }
            state.inode(inode)?.write(&bytes[..len], offset);
            state.powered()?;
            if fault {
                return Err(io::Error::other("injected write error"));
            }
            if full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }

    fn allocate_zeroed(&self, len: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let fate = state.begin()?;
            let grows = len.saturating_sub(state.inode(inode)?.current.len);
            let room = state
                .capacity_bytes
                .map_or(u64::MAX, |cap| cap.saturating_sub(state.used_bytes()));
            if grows > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.inode(inode)?.current.len = len;
            if fate == Fate::Crashes {
                return Err(power_is_off());
            }
            state.inode(inode)?.durable.len = len;
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let fate = state.begin()?;
            if fate == Fate::Crashes {
                return Err(power_is_off());
            }
            let fault = Fault::strikes(&mut state.sync_fails);
            let mut rng = state.rng;
            let file = state.inode(inode)?;
            let dirty = std::mem::take(&mut file.dirty);
            for sector in dirty {
                if !fault || rng.chance(1, 2) {
                    file.durable.copy_sector(&file.current, sector);
                }
            }
            file.durable.len = file.current.len;
            state.rng = rng;
            if fault {
                Err(io::Error::other("injected fsync error"))
            } else {
                Ok(())
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, inode| {
            state.powered()?;
            Ok(state.inode(inode)?.current.len)
        })
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A test that panicked while holding it has already failed; others may go on.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
