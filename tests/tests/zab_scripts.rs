//! Runs the stories of `tests/zab_scripts`; `REWRITE=1` writes what is printed into them, to be reviewed like code.

use std::fs;
use std::path::Path;

use zabd_tests::zab::script::run_script;

#[test]
fn scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("zab_scripts");
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut stories = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let script = fs::read_to_string(&path).unwrap();
        let told =
            run_script(&script).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        stories += 1;
        if rewrite {
            fs::write(&path, told).unwrap();
        } else if told != script {
            let mut pairs = told.lines().zip(script.lines()).enumerate();
            let first = pairs.find(|(_, (told, script))| told != script);
            panic!(
                "{} is told otherwise, first at {first:?}:\n{told}",
                path.display()
            );
        }
    }
    assert!(stories >= 9, "only {stories} stories in {}", dir.display());
}
