//! Bytes captured from Apache ZooKeeper. `capture.sh` in this directory captures them anew; the `reference.*` files
//! are earlier captures of which more is known than their bytes.

mod frames;
mod log;
mod quorum;
mod snapshot;
mod vectors;
