//! What the tests of zabd share: a client that speaks raw frames, and launchers for the servers it speaks to.
//!
//! | module | what it holds |
//! |---|---|
//! | [`apache`] | Apache ZooKeeper: its releases, fetched and started |
//! | [`cluster`] | ensembles whose members change |
//! | [`ensemble`] | several zabd that agree, as child processes; what each of them knows, compared |
//! | [`holders`] | Curator and C programs that hold one lock, and a file that sees it |
//! | [`linearizability`], [`registers`] | clients whose histories a checker takes, and the checker |
//! | [`mixed`] | ensembles of zabd and Apache ZooKeeper, and what their logs may not say |
//! | [`netns`] | a network of namespaces: partitions, one-way cuts, loss and delay between real processes |
//! | [`members`] | the simulator of ensembles with their clients: whole servers on virtual time, networks and disks |
//! | [`programs`] | clients on other libraries whose histories go to the same checker |
//! | [`raw`] | [`raw::RawClient`]: any bytes out, frames in with their order and the kind of close kept |
//! | [`seeds`], [`story`] | what all simulators are run with: many seeds at once, scripts retold |
//! | [`servers`] | zabd and Apache ZooKeeper as child processes on loopback, from one description |
//! | [`sim`] | the simulator: a server and its clients on virtual time and a virtual disk |
//! | [`writers`] | clients that write through failures and remember what they were told |
//! | [`zab`] | the simulator of ensembles: the order of transactions among several servers |

pub mod apache;
pub mod cluster;
pub mod ensemble;
pub mod holders;
pub mod linearizability;
pub mod members;
pub mod mixed;
pub mod netns;
pub mod programs;
pub mod proxy;
pub mod raw;
pub mod registers;
pub mod seeds;
pub mod servers;
pub mod sim;
pub mod story;
pub mod writers;
pub mod zab;
