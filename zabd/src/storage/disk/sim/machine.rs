//! What a simulated disk holds, and what a crash leaves of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) boot: u64,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) off: bool,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) write_fails: Option<Fault>,
    pub(super) sync_fails: Option<Fault>,
    pub(super) next_inode: u64,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) live: BTreeMap<PathBuf, u64>,
    pub(super) durable: BTreeMap<PathBuf, u64>,
    pub(super) pending: Vec<NameChange>,
    pub(super) locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completes,
    Crashes,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) skip: u64,
    pub(super) times: u64,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) current: Image,
    pub(super) durable: Image,
    /// The sectors in which `current` may differ from `durable`.
    pub(super) dirty: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) len: u64,
    /// A sector that is not here is zeros.
    pub(super) sectors: BTreeMap<u64, Arc<[u8; SECTOR]>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rng(pub(super) u64);

impl State {
    pub(super) fn powered(&self) -> io::Result<()> {
        if self.off {
            Err(power_is_off())
        } else {
            Ok(())
        }
    }

    pub(super) fn begin(&mut self) -> io::Result<Fate> {
        self.powered()?;
        let this = self.operations;
        self.operations += 1;
        if self.crash_at == Some(this) {
            self.off = true;
            return Ok(Fate::Crashes);
        }
        Ok(Fate::Completes)
    }

    pub(super) fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let live: BTreeSet<u64> = self.live.values().copied().collect();
        live.iter()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|inode| inode.current.len)
            .sum()
    }

    pub(super) fn lose_power(&mut self) {
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
    pub(super) fn strikes(fault: &mut Option<Self>) -> bool {
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
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent(),
        }
    }

    /// A change that builds on one that was lost is lost with it.
    pub(super) fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
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
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.current.write(bytes, offset);
        let last = (offset + bytes.len() as u64 - 1) / SECTOR as u64;
        self.dirty.extend(offset / SECTOR as u64..=last);
    }
}

impl Image {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
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

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
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

    pub(super) fn copy_sector(&mut self, from: &Self, sector: u64) {
        match from.sectors.get(&sector) {
            Some(bytes) => self.sectors.insert(sector, Arc::clone(bytes)),
            None => self.sectors.remove(&sector),
        };
    }

    pub(super) fn tear_sector(&mut self, from: &Self, sector: u64, at: usize, head_is_new: bool) {
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

    pub(super) fn sector_mut(&mut self, sector: u64) -> &mut [u8; SECTOR] {
        Arc::make_mut(
            self.sectors
                .entry(sector)
                .or_insert_with(|| Arc::new([0; SECTOR])),
        )
    }
}

impl Rng {
    /// splitmix64.
    pub(super) fn next(&mut self) -> u64 {
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
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(super) fn chance(&mut self, of: usize, out_of: usize) -> bool {
        self.below(out_of) < of
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than SECTOR")]
fn split(offset: u64) -> (u64, usize) {
    (offset / SECTOR as u64, (offset % SECTOR as u64) as usize)
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

pub(super) const SECTOR: usize = 512;
