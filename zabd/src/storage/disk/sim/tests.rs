//! What is left after crashes and faults.

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
