//! Configuration: the file ZooKeeper reads.

pub mod properties;
#[cfg(test)]
mod properties_java;
