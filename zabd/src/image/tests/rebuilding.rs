//! Histories cut, and the states that are left.

use super::*;
use crate::image::rebuild::{RebuildError, Rebuilt};

#[test]
fn a_history_is_cut_and_its_state_with_it() {
    let history = history();
    let states = states(&history);
    for kept in 4..=17 {
        let mut server = Server::with(&history, 4);
        let (disk, store, layout) = (
            server.disk.clone(),
            server.store.clone(),
            server.storage.layout.clone(),
        );
        let sources = Sources {
            layout: &layout,
            snapshot: &store,
            log: server.storage.log.index(),
        };
        let zxid = Zxid(EPOCH + kept);
        let log = &mut server.storage.log;
        let Rebuilt {
            state,
            snapshot_zxid,
            replayed,
        } = sources
            .truncate(zxid, params(), |zxid| log.truncate_after(zxid).map(drop))
            .unwrap();
        let expected = face(&states[usize::try_from(kept).unwrap()]);
        assert_eq!(face(&state), expected);
        assert_eq!(
            (snapshot_zxid, replayed),
            (Zxid(EPOCH + 4), kept.cast_unsigned() - 4)
        );
        drop(server);
        disk.reboot(Crash::Power);
        let server = Server::start(disk, store);
        assert_eq!(face(&server.state), expected);
    }
}

#[test]
fn what_cannot_be_cut_is_left_whole() {
    let history = history();
    let server = Server::with(&history, 9);
    let cut = |zxid: Zxid| {
        server
            .sources()
            .truncate(zxid, params(), |_| panic!("nothing is cut"))
            .unwrap_err()
    };
    let error = cut(Zxid(EPOCH + 8));
    assert!(
        matches!(error, RebuildError::SnapshotBeyond { .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("0x100000008") && message.contains("0x100000009"),
        "{message}"
    );
    for missing in [EPOCH + 18, 2 * EPOCH] {
        let error = cut(Zxid(missing));
        assert!(
            matches!(error, RebuildError::NotInLog { before, .. } if before == Zxid(EPOCH + 17)),
            "{error}"
        );
    }
    assert!(matches!(
        server.sources().through(Zxid(EPOCH + 18), params()),
        Err(RebuildError::Log(_))
    ));
    let expected = face(&server.state);
    assert_eq!(face(&server.restart().state), expected);
}
