//! Runs the stories of `tests/zab_scripts`; `REWRITE=1` writes what is printed into them, to be reviewed like code.

use zabd_tests::story::check_all;
use zabd_tests::zab::script::run_script;

#[test]
fn scripts() {
    check_all("zab_scripts", 22, run_script);
}
