//! Strings against Java itself: what it decodes from arbitrary bytes, and what the server writes for it.
//!
//! Needs `java` 17 or newer. `ZOOKEEPER_LIB`, a directory with ZooKeeper's jars, has its own classes do the work in
//! place of the JDK's charsets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use jute_codec::writer::write_str;
use jute_codec::{Reader, Text};

/// Bytes at the edges of what UTF-8 allows, at each place of a sequence.
const EDGES: [u8; 32] = [
    0x00, 0x2f, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
    0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
];

/// All strings of up to three edges, then random ones of up to 24 bytes; the same at every run.
fn inputs() -> Vec<Vec<u8>> {
    let mut inputs = vec![Vec::new()];
    for first in EDGES {
        inputs.push(vec![first]);
        for second in EDGES {
            inputs.push(vec![first, second]);
            for third in EDGES {
                inputs.push(vec![first, second, third]);
            }
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits fit") % below
    };
    for _ in 0..60_000 {
        let mut input = Vec::new();
        while input.len() < 20 && random(12) != 0 {
            match random(8) {
                0 => input.push(b'a'),
                1 => input.extend("\u{e9}".bytes()),
                2 => input.extend("\u{4e2d}".bytes()),
                3 => input.extend("\u{1f600}".bytes()),
                4 => input.extend(b"\xed\xa0\xbd\xed\xb8\x80"),
                _ => input.push(EDGES[random(EDGES.len())]),
            }
            if random(4) == 0 {
                input.pop();
            }
        }
        inputs.push(input);
    }
    inputs
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn java_says(inputs: &[Vec<u8>]) -> Option<Vec<String>> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strings/Strings.java");
    let class_path = std::env::var("ZOOKEEPER_LIB").map(|lib| format!("{lib}/*"));
    let mut java = match Command::new("java")
        .args(["-cp", class_path.as_deref().unwrap_or("."), program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        started => started.expect("start java"),
    };
    let mut stdin = java.stdin.take().expect("standard input is piped");
    let lines: String = inputs.iter().map(|input| hex(input) + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = java.wait_with_output().expect("java's output");
    assert!(output.status.success(), "java failed: {}", output.status);
    writer
        .join()
        .expect("the writer does not panic")
        .expect("java reads all its input");
    let text = String::from_utf8(output.stdout).expect("java prints digits");
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn strings_are_decoded_and_written_as_java_does() {
    let inputs = inputs();
    let Some(answers) = java_says(&inputs) else {
        eprintln!("SKIPPED: there is no java here to compare with");
        return;
    };
    assert_eq!(answers.len(), inputs.len());
    for (input, answer) in inputs.iter().zip(answers) {
        let mut framed = u32::try_from(input.len())
            .expect("inputs are short")
            .to_be_bytes()
            .to_vec();
        framed.extend(input);
        let frame = Bytes::from(framed);
        let text: Text = Reader::new(&frame)
            .text()
            .expect("the length is right")
            .expect("the string is not null");
        let mut written = Vec::new();
        write_str(&text, &mut written);
        let ours = format!("{} {}", hex(text.as_bytes()), hex(&written[4..]));
        assert_eq!(ours, answer, "decoded and written, from {}", hex(input));
    }
}
