//! How far long work has come, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long work goes on before anything is said of it, and how often after that.
const INTERVAL: Duration = Duration::from_millis(250);

/// A line on the standard error that is written over and over, and wiped at the end. Nothing where the standard error
/// is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// How many there will be, if that is known.
    total: Option<usize>,
    done: usize,
    started: Instant,
    shown: Instant,
    is_shown: bool,
    enabled: bool,
}

impl Progress {
    /// `what` is counted, such as `nodes`.
    pub(crate) fn new(what: &'static str, total: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            what,
            total,
            done: 0,
            started: now,
            shown: now,
            is_shown: false,
            enabled: io::stderr().is_terminal(),
        }
    }

    /// Counts some more.
    pub(crate) fn add(&mut self, done: usize) {
        self.done += done;
        if self.enabled && self.shown.elapsed() >= INTERVAL {
            self.show();
        }
    }

    fn show(&mut self) {
        self.shown = Instant::now();
        self.is_shown = true;
        let line = line(self.what, self.done, self.total, self.started.elapsed());
        // Nobody misses a line of progress that cannot be written.
        write!(io::stderr(), "\r\x1b[K{line}").ok();
    }

    /// Makes room for other lines.
    pub(crate) fn hide(&mut self) {
        if self.is_shown {
            self.is_shown = false;
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

fn line(what: &str, done: usize, total: Option<usize>, elapsed: Duration) -> String {
    let rate = u128::try_from(done).unwrap_or(u128::MAX) * 1000 / elapsed.as_millis().max(1);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{done} {what}, {rate}/s");
    };
    let filled = (done.min(total) * 20) / total;
    let percent = done.min(total) * 100 / total;
    let bar: String = (0..20)
        .map(|at| if at < filled { '#' } else { '.' })
        .collect();
    format!("[{bar}] {percent:3}% {done}/{total} {what}, {rate}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_total_makes_a_bar() {
        let second = Duration::from_secs(1);
        assert_eq!(line("nodes", 12, None, second), "12 nodes, 12/s");
        assert_eq!(
            line("nodes", 50, Some(100), second * 2),
            "[##########..........]  50% 50/100 nodes, 25/s"
        );
        assert_eq!(line("nodes", 1, Some(0), Duration::ZERO), "1 nodes, 1000/s");
    }
}
