//! Differential test of `properties` against the JDK on this machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::parse;

/// Pieces that files are put together from: everything the format gives a meaning to.
const PIECES: [&[u8]; 40] = [
    b"a",
    b"b",
    b"key",
    b"1",
    b"value",
    b"=",
    b"=",
    b":",
    b" ",
    b" ",
    b"\t",
    b"\x0c",
    b"\\",
    b"\\\\",
    b"\\\n",
    b"\\\r\n",
    b"\\\r",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"#",
    b"!",
    b"\\u0041",
    b"\\u003d",
    b"\\u0020",
    b"\\ud83d\\ude00",
    b"\\ud83d",
    b"\\n",
    b"\\t",
    b"\\r",
    b"\\f",
    b"\\=",
    b"\\ ",
    b"\\:",
    b"\\#",
    b"\xe4",
    b"\xc3\xa4",
    b"\0",
    b"\\u12",
];

const FILES: usize = 600;

/// A small generator (xorshift*), seeded, so that a failing file can be made again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % limit
    }
}

fn nasty_file(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(40) {
        // The malformed escape ends Java's reading, so it comes seldom.
        let drawn = dice.below(PIECES.len() * 8);
        bytes.extend_from_slice(
            PIECES[if drawn < PIECES.len() {
                drawn
            } else {
                drawn % 39
            }],
        );
    }
    bytes
}

/// What Java would print for our reading: the map it ends with, or `malformed`.
fn our_reading(bytes: &[u8]) -> String {
    let parsed = parse(bytes);
    if !parsed.malformed.is_empty() {
        return "malformed".to_owned();
    }
    let map: BTreeMap<_, _> = parsed
        .entries
        .into_iter()
        .map(|entry| (hex(&entry.key), hex(&entry.value)))
        .collect();
    let mut line = String::new();
    for (key, value) in map {
        write!(line, "{key}={value};").unwrap();
    }
    line
}

fn hex(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |mut out, unit| {
        write!(out, "{unit:04x}").unwrap();
        out
    })
}

#[test]
fn reads_nasty_files_as_java_does() {
    let directory = std::env::temp_dir().join(format!("zabd-properties-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut dice = Dice(0x5eed_0000_0001);
    let mut files: Vec<Vec<u8>> = (0..FILES).map(|_| nasty_file(&mut dice)).collect();
    for text in [
        "\\",
        "a\\",
        "\\\n",
        "\\\n#x\na=1",
        "\\\n\na=1",
        "a\\\n\n=b",
        "a=\\\n",
        "#x\\\na=1",
        "=",
        " = = ",
        "a\\u003d=1",
        "a=1\\\n#b",
        "a=\\u",
        "a=\\u00",
        "\\\r\n b",
        "a=1\\\r",
        "#",
    ] {
        files.push(text.as_bytes().to_vec());
    }
    for (at, bytes) in files.iter().enumerate() {
        std::fs::write(directory.join(format!("{at}.properties")), bytes).unwrap();
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/properties/PropertiesDump.java");
    let run = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(program)
        .arg(&directory)
        .arg(files.len().to_string())
        .output();
    std::fs::remove_dir_all(&directory).unwrap();
    let output = match run {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: no java on this machine to compare with");
            return;
        }
        other => other.unwrap(),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let java = String::from_utf8(output.stdout).unwrap();
    assert_eq!(java.lines().count(), files.len());
    for ((at, bytes), expected) in files.iter().enumerate().zip(java.lines()) {
        let text = bytes.escape_ascii();
        assert_eq!(our_reading(bytes), expected, "file {at}: \"{text}\"");
    }
}
