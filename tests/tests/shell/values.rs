//! Data as text, digits, JSON, and from and to files.

use std::fs;

use zabd_tests::servers::Implementation;

use crate::bench::{Directory, fails, fed, ok, start, zab};

/// What is printed in front of a result by the Java shell's commands.
fn result(out: &str) -> &str {
    out.split_once("zxid: -1\n")
        .map_or(out, |(_, result)| result)
}

#[test]
fn data_comes_and_goes_in_many_forms() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    let directory = Directory::new("values");
    let file = directory.file("data");
    ok(server, &["create", "/v"]);
    for (set, get, printed) in [
        (&["--hex", "68 69ff"][..], &["--hex"][..], "6869ff\n"),
        (&["--hex", "68691b"], &["--text"], "hi\\u{1b}\n"),
        (&["-b", "aGk"], &[], "hi\n"),
        (
            &["--json", "{\"b\":[1]}"],
            &["--json"],
            "{\n  \"b\": [\n    1\n  ]\n}\n",
        ),
        (&["plain"], &["-b"], "cGxhaW4=\n"),
    ] {
        ok(server, &[&["set", "/v"], set].concat());
        let out = ok(server, &[&["get", "/v"], get].concat());
        assert_eq!(result(&out), printed, "{set:?}");
    }
    fs::write(&file, [0, 1, 255, b'\n']).unwrap();
    ok(server, &["set", "/v", "--file", &file]);
    ok(server, &["get", "/v", "--file", &directory.file("out")]);
    assert_eq!(fs::read(directory.file("out")).unwrap(), [0, 1, 255, b'\n']);
    ok(server, &["create", "/f", "--file", &file, "world:anyone:r"]);
    assert!(ok(server, &["getAcl", "/f"]).ends_with("'world,'anyone\n: r\n"));
    let piped = fed(server, &["set", "/v", "--file", "-"], b"from the pipe");
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_eq!(ok(server, &["get", "/v", "--file", "-"]), "from the pipe");
}

#[test]
fn what_is_not_in_the_form_it_should_have_changes_nothing() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    ok(server, &["create", "/v", "as it was"]);
    for (words, code, told) in [
        (
            &["set", "/v", "--hex", "abc"][..],
            65,
            "The data is not hexadecimal",
        ),
        (&["set", "/v", "--json", "{"], 65, "The data is not JSON"),
        (&["set", "/v", "-b", "***"], 1, "The data is not base64"),
        (
            &["set", "/v", "--file", "/nonexistent"],
            74,
            "read /nonexistent: ",
        ),
        (&["get", "/v", "--json"], 65, "The data is not JSON"),
        (
            &["get", "/v", "--file", "/nonexistent/x"],
            74,
            "create /nonexistent/",
        ),
    ] {
        let failed = fails(server, words);
        assert_eq!(failed.0, code, "{failed:?}");
        assert!(failed.1.starts_with(told), "{failed:?}");
    }
    assert!(ok(server, &["get", "/v"]).ends_with("\nas it was\n"));
}

#[test]
fn data_that_no_server_takes_is_explained() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let data = vec![b'x'; 3 << 20];
    let ran = fed(
        &server,
        &["create", "/big", "--file", "-", "--output", "json"],
        &data,
    );
    assert_eq!(ran.code, Some(79), "{ran:?}");
    assert!(
        ran.err
            .contains("The data has 3145728 bytes; a server takes about 1 MiB"),
        "{ran:?}"
    );
    assert!(!zab(&server, &["ls", "/"]).out.contains("big"));
}
