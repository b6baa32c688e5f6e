//! The first bytes of connections, as four-letter words with their arguments.

#![no_main]

#[path = "support/limit.rs"]
mod limit;
#[path = "support/source.rs"]
mod source;

use std::sync::{Arc, RwLock};

use libfuzzer_sys::fuzz_target;
use source::Source;
use zabd::admin::{AdminContext, FourLetterWords, Metrics, RuntimeFigures};
use zabd::net::client::{Connections, FourLetter, ListenerInfo};
use zabd::net::clock::MonotonicClock;
use zabd::net::stats::ServerStats;
use zabd::state::conn::ConnId;
use zabd::state::{State, StateParams};

fn words(is_enabled: bool) -> FourLetterWords {
    FourLetterWords::new(AdminContext {
        state: Arc::new(RwLock::new(State::new(StateParams::default()))),
        connections: Arc::new(Connections::new(1 << 20)),
        stats: Arc::new(ServerStats::default()),
        auth: Arc::default(),
        clock: MonotonicClock::start(),
        log: Arc::default(),
        metrics: Arc::new(Metrics::default()),
        session_buckets: Arc::new(Vec::new),
        conf: Arc::new(|listener| format!("clientPort={}\n", listener.local_addr.port())),
        dir_bytes: Arc::new(|| (u64::MAX, 0)),
        is_enabled: Arc::new(move |_| is_enabled),
        runtime: Arc::new(RuntimeFigures::default),
    })
}

fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let words = words(source.byte() % 8 != 0);
    let listener = ListenerInfo {
        index: 0,
        local_addr: ([127, 0, 0, 1], 2181).into(),
    };
    while !source.is_empty() {
        let Ok(word) = <[u8; 4]>::try_from(source.take(4)) else {
            return;
        };
        let known = words.is_command(word);
        let wanted = words.argument_bytes(word);
        assert!(wanted <= 8);
        // A client may close its end within the argument.
        let argument = source.take(wanted);
        let answer = words.answer(word, argument, ConnId(1), &listener);
        assert!(known || (wanted == 0 && answer.is_empty()));
        assert!(answer.len() < 64 << 10);
        assert!(String::from_utf8(answer).is_ok());
    }
});
