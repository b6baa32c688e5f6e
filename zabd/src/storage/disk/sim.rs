//! A disk in memory that fails on request: the same seed and the same operations give the same outcome.
//!
//! Contents are kept twice, as the machine sees them and as the platter has them, with the sectors in
//! which they differ. [`SimDisk::reboot`] decides for each such sector whether it made it, and for each
//! change of a name since the directory was last synced likewise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenMode};

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

#[derive(Clone, Debug)]
struct State {
    rng: Rng,
    boot: u64,
    operations: u64,
    crash_at: Option<u64>,
    off: bool,
    capacity_bytes: Option<u64>,
    write_fails: Option<Fault>,
    sync_fails: Option<Fault>,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    live: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Completes,
    Crashes,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    skip: u64,
    times: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Image,
    durable: Image,
    /// The sectors in which `current` may differ from `durable`.
    dirty: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
struct Image {
    len: u64,
    /// A sector that is not here is zeros.
    sectors: BTreeMap<u64, Arc<[u8; SECTOR]>>,
}

#[derive(Clone, Copy, Debug)]
struct Rng(u64);

impl State {
    fn powered(&self) -> io::Result<()> {
        if self.off {
            Err(power_is_off())
        } else {
            Ok(())
        }
    }

    fn begin(&mut self) -> io::Result<Fate> {
        self.powered()?;
        let this = self.operations;
        self.operations += 1;
        if self.crash_at == Some(this) {
            self.off = true;
            return Ok(Fate::Crashes);
        }
        Ok(Fate::Completes)
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        let live: BTreeSet<u64> = self.live.values().copied().collect();
        live.iter()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|inode| inode.current.len)
            .sum()
    }

    fn lose_power(&mut self) {
        // Some crashes keep nearly all, some nearly nothing; the mixed ones find the reorderings.
        let kept_of_8 = [0, 1, 4, 7, 8][self.rng.below(5)];
        for change in std::mem::take(&mut self.pending) {
            if self.rng.chance(kept_of_8, 8) {
                change.apply(&mut self.durable);
            }
        }
        self.live = self.durable.clone();
        let named: BTreeSet<u64> = self.live.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        for inode in self.inodes.values_mut() {
            for sector in std::mem::take(&mut inode.dirty) {
                if self.rng.chance(1, 6) {
                    let at = self.rng.below(SECTOR);
                    inode
                        .durable
                        .tear_sector(&inode.current, sector, at, self.rng.chance(1, 2));
                } else if self.rng.chance(kept_of_8, 8) {
                    inode.durable.copy_sector(&inode.current, sector);
                }
            }
            if self.rng.chance(kept_of_8, 8) {
                inode.durable.len = inode.current.len;
            }
            let len = inode.durable.len;
            inode
                .durable
                .sectors
                .retain(|sector, _| sector * (SECTOR as u64) < len);
            inode.current = inode.durable.clone();
        }
    }
}

impl Fault {
    fn strikes(fault: &mut Option<Self>) -> bool {
        let Some(armed) = fault else {
            return false;
        };
        if armed.skip > 0 {
            armed.skip -= 1;
            return false;
        }
        armed.times = armed.times.saturating_sub(1);
        if armed.times == 0 {
            *fault = None;
        }
        true
    }
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent(),
        }
    }

    /// A change that builds on one that was lost is lost with it.
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path, inode);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.current.write(bytes, offset);
        let last = (offset + bytes.len() as u64 - 1) / SECTOR as u64;
        self.dirty.extend(offset / SECTOR as u64..=last);
    }
}

impl Image {
    fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut done = 0;
        while done < len {
            let (sector, within) = split(offset + done as u64);
            let chunk = (SECTOR - within).min(len - done);
            let to = &mut buf[done..done + chunk];
            match self.sectors.get(&sector) {
                Some(bytes) => to.copy_from_slice(&bytes[within..within + chunk]),
                None => to.fill(0),
            }
            done += chunk;
        }
        len
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (sector, within) = split(offset + done as u64);
            let chunk = (SECTOR - within).min(bytes.len() - done);
            self.sector_mut(sector)[within..within + chunk]
                .copy_from_slice(&bytes[done..done + chunk]);
            done += chunk;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn copy_sector(&mut self, from: &Self, sector: u64) {
        match from.sectors.get(&sector) {
            Some(bytes) => self.sectors.insert(sector, Arc::clone(bytes)),
            None => self.sectors.remove(&sector),
        };
    }

    fn tear_sector(&mut self, from: &Self, sector: u64, at: usize, head_is_new: bool) {
        let new = from
            .sectors
            .get(&sector)
            .map_or([0; SECTOR], |bytes| **bytes);
        let old = self.sector_mut(sector);
        if head_is_new {
            old[..at].copy_from_slice(&new[..at]);
        } else {
            old[at..].copy_from_slice(&new[at..]);
        }
    }

    fn sector_mut(&mut self, sector: u64) -> &mut [u8; SECTOR] {
        Arc::make_mut(
            self.sectors
                .entry(sector)
                .or_insert_with(|| Arc::new([0; SECTOR])),
        )
    }
}

impl Rng {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than bound, which is a usize"
    )]
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, of: usize, out_of: usize) -> bool {
        self.below(out_of) < of
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than SECTOR")]
fn split(offset: u64) -> (u64, usize) {
    (offset / SECTOR as u64, (offset % SECTOR as u64) as usize)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A test that panicked while holding it has already failed; others may go on.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimDisk, name: &str) -> SimFile {
        disk.open(Path::new(name), OpenMode::CreateNew).unwrap()
    }

    fn contents(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
        disk.read_whole(Path::new(name)).unwrap()
    }

    #[test]
    fn synced_data_and_names_survive_a_power_cut() {
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            let a = file(&disk, "/d/a");
            a.write_at(&[7; 2000], 0).unwrap();
            a.sync_data().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            a.write_at(&[8; 100], 2000).unwrap();
            disk.reboot(Crash::Power);
            assert!(a.len().is_err(), "handles of the last boot are dead");
            let bytes = contents(&disk, "/d/a").unwrap();
            assert_eq!(bytes[..2000], [7; 2000]);
        }
    }

    #[test]
    fn unsynced_sectors_are_reordered_and_torn() {
        let (mut reordered, mut torn, mut nameless) = (false, false, false);
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let a = file(&disk, "/d/a");
            a.allocate_zeroed(4096).unwrap();
            a.write_at(&[9; 4096], 0).unwrap();
            disk.reboot(Crash::Power);
            let Some(bytes) = contents(&disk, "/d/a") else {
                nameless = true;
                continue;
            };
            let whole: Vec<usize> = bytes
                .chunks(512)
                .map(|s| s.iter().filter(|b| **b == 9).count())
                .collect();
            reordered |= whole.windows(2).any(|pair| pair[0] == 0 && pair[1] == 512);
            torn |= whole.iter().any(|count| (1..512).contains(count));
        }
        assert!(reordered && torn && nameless);
    }

    #[test]
    fn a_killed_process_loses_nothing_it_wrote() {
        let disk = SimDisk::new(1);
        file(&disk, "/d/a").write_at(b"kept", 0).unwrap();
        disk.reboot(Crash::Process);
        assert_eq!(contents(&disk, "/d/a").unwrap(), b"kept");
    }

    #[test]
    fn a_failed_sync_never_makes_the_data_durable_later() {
        let mut lost = false;
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            let a = file(&disk, "/d/a");
            disk.sync_dir(Path::new("/d")).unwrap();
            a.write_at(b"doubtful", 0).unwrap();
            disk.fail_syncs(0, 1);
            assert!(a.sync_data().is_err());
            a.sync_data().unwrap();
            assert_eq!(contents(&disk, "/d/a").unwrap(), b"doubtful");
            disk.reboot(Crash::Power);
            lost |= contents(&disk, "/d/a").unwrap() != b"doubtful";
        }
        assert!(lost);
    }

    #[test]
    fn the_crash_comes_at_the_operation_asked_for() {
        let disk = SimDisk::new(3);
        let a = file(&disk, "/d/a");
        disk.crash_at(2);
        a.write_at(b"x", 0).unwrap();
        assert!(a.write_at(b"y", 1).is_err());
        assert!(disk.is_off() && a.sync_data().is_err());
    }

    #[test]
    fn space_runs_out_and_comes_back() {
        let disk = SimDisk::new(4);
        let a = file(&disk, "/d/a");
        disk.set_capacity(Some(1000));
        let error = a.write_at(&[1; 1500], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(a.len().unwrap(), 1000);
        disk.set_capacity(None);
        a.write_at(&[1; 1500], 0).unwrap();
    }

    #[test]
    fn the_same_seed_gives_the_same_crash() {
        let run = |seed| {
            let disk = SimDisk::new(seed);
            let a = file(&disk, "/d/a");
            a.write_at(&[5; 9000], 0).unwrap();
            disk.reboot(Crash::Power);
            contents(&disk, "/d/a")
        };
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed));
        }
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let disk = SimDisk::new(5);
        file(&disk, "/d/a").write_at(b"both", 0).unwrap();
        let fork = disk.fork();
        fork.open(Path::new("/d/a"), OpenMode::ReadWrite)
            .unwrap()
            .write_at(b"fork", 0)
            .unwrap();
        assert_eq!(contents(&disk, "/d/a").unwrap(), b"both");
        assert_eq!(contents(&fork, "/d/a").unwrap(), b"fork");
        assert!(disk.flip_bit(Path::new("/d/a"), 0, 0));
        assert_eq!(contents(&disk, "/d/a").unwrap(), b"coth");
    }
}
