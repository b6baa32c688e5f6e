//! Runs the stories of `tests/scripts`; `REWRITE=1` writes what is printed into them, to be reviewed like code.

use zabd_tests::sim::script::run_script;
use zabd_tests::story::check_all;

#[test]
fn scripts() {
    check_all("scripts", 7, run_script);
}
