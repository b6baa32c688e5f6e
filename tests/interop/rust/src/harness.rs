//! Reports results to tests/interop/run.py and asks it to restart the server.

use std::fmt::Debug;
use std::future::Future;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

/// Why a test failed.
pub type Failure = String;
/// What a test ends with.
pub type Outcome = Result<(), Failure>;

/// Counts the tests.
#[derive(Default)]
pub struct Suite {
    results: usize,
    failed: bool,
}

impl Suite {
    /// Runs one test within a time and reports it.
    pub async fn test(&mut self, name: &str, seconds: u64, body: impl Future<Output = Outcome>) {
        let outcome = match timeout(Duration::from_secs(seconds), body).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("did not end within {seconds} s")),
        };
        self.results += 1;
        match outcome {
            Ok(()) => println!("PASS {name}"),
            Err(reason) => {
                self.failed = true;
                println!("FAIL {name}: {}", reason.replace('\n', " "));
            }
        }
    }

    /// Says how many tests there were; the exit code.
    pub fn end(self) -> i32 {
        println!("END {}", self.results);
        i32::from(self.failed)
    }
}

/// The address of the server.
pub fn address() -> String {
    std::env::var("ZK_ADDRESS").expect("run.py sets ZK_ADDRESS")
}

/// Asks the runner to stop, start, kill or restart the server, and waits until that is done.
pub async fn server(action: &'static str) -> Outcome {
    let answer = tokio::task::spawn_blocking(move || {
        println!("@server {action}");
        std::io::stdout()
            .flush()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        Ok::<_, Failure>(line)
    })
    .await
    .map_err(|error| error.to_string())??;
    equal(answer.trim(), "ok", action)
}

/// Fails unless the two are equal.
pub fn equal<T: PartialEq<U> + Debug, U: Debug>(got: T, wanted: U, what: &str) -> Outcome {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {got:?}, wanted {wanted:?}"))
    }
}

/// Fails unless the condition holds.
pub fn check(condition: bool, what: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(what.to_owned())
    }
}

/// Names what was being done when an error came.
pub trait Doing<T> {
    /// The value, or a failure that says what was being done.
    fn doing(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Waits until a condition holds.
pub async fn eventually<F: Future<Output = bool>>(
    seconds: u64,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition().await {
        check(
            Instant::now() < deadline,
            &format!("not within {seconds} s: {what}"),
        )?;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
