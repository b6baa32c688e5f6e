//! The differential test: the same bytes to Apache ZooKeeper and to zabd, and no difference in what comes back.
//!
//! `tests/differential/cases/*.txt` are the scripted cases, by area; [`random`] makes histories out of a seed. What
//! may differ is replaced ([`transcript`]); what differs by decision stands in the cases with its reason, and is
//! collected in `tests/differential/expected.md`.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |
//! | `ZABD_TEST_ZOOKEEPER_LIB` | a directory with the jars of Apache ZooKeeper, in place of Maven's |
//! | `ZABD_DIFF_SELF=1` | Apache ZooKeeper against itself, to test the test |
//! | `ZABD_DIFF_CASE=TEXT` | only cases with TEXT in their names |
//! | `ZABD_DIFF_SEED=N`, `ZABD_DIFF_STEPS=N` | one random history in place of the fixed ones |
//! | `ZABD_DIFF_SHOW=1` | the answers of the second server are printed |
//! | `REWRITE=1` | `expected.md` is written anew |

mod compare;
mod expected;
mod play;
mod random;
mod request;
mod script;
mod transcript;

use compare::run_script;

/// One test a file of cases, so that areas run side by side and fail apart.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run_script(stringify!($name));
            }
        )*

        #[test]
        fn every_file_of_cases_is_played() {
            let played = [$(stringify!($name)),*];
            let files = compare::all_scripts().expect("the cases can be listed");
            assert_eq!(files, played);
        }
    };
}

scripts! {
    acl
    checks
    containers
    containers_unused
    digest_algorithm
    digest_off
    digest_sha3
    enforce_auth
    ensemble_auth
    ensemble_auth_open
    fresh
    hazards
    limit_buffer
    limit_clients
    limit_connections
    limit_large
    limit_requests
    limit_sessionless
    limit_token_weights
    limit_tokens
    multi
    paths
    protocol
    quota
    quota_soft
    reconfig
    sequence
    sessions
    skip_acl
    watches
    words
    words_default
}
