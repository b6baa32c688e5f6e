//! Data as a grid of hexadecimal bytes and their characters, 16 to a row.
//!
//! Netty: `ByteBufUtil.prettyHexDump`.

use std::fmt::Write;

const HEADER: [&str; 2] = [
    "         +-------------------------------------------------+",
    "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |",
];
const RULER: &str = "+--------+-------------------------------------------------+----------------+";

/// The grid, the last line without its line end; nothing for no data.
pub(crate) fn hex_grid(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let mut grid = format!("{}\n{RULER}\n", HEADER.join("\n"));
    for (row, bytes) in data.chunks(16).enumerate() {
        let mut hex = String::new();
        let mut characters = String::new();
        for &byte in bytes {
            write!(hex, " {byte:02x}").expect("a String takes whatever is written");
            characters.push(match byte {
                0x20..=0x7e => char::from(byte),
                _ => '.',
            });
        }
        let offset = row * 16;
        writeln!(grid, "|{offset:08x}|{hex:48} |{characters:16}|")
            .expect("a String takes whatever is written");
    }
    grid + RULER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_nettys() {
        assert_eq!(
            hex_grid(b"hello"),
            "         +-------------------------------------------------+\n\
             \x20        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n\
             +--------+-------------------------------------------------+----------------+\n\
             |00000000| 68 65 6c 6c 6f                                  |hello           |\n\
             +--------+-------------------------------------------------+----------------+"
        );
    }

    #[test]
    fn rows_are_numbered_and_what_does_not_print_is_a_dot() {
        let data: Vec<u8> = (0x70..=0x81).collect();
        let grid = hex_grid(&data);
        let rows: Vec<_> = grid.lines().skip(3).collect();
        assert_eq!(
            rows[0],
            "|00000000| 70 71 72 73 74 75 76 77 78 79 7a 7b 7c 7d 7e 7f |pqrstuvwxyz{|}~.|"
        );
        assert_eq!(
            rows[1],
            "|00000010| 80 81                                           |..              |"
        );
        assert_eq!(hex_grid(b""), "");
    }
}
