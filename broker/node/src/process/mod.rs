//! What a process has of its own: threads and signals, exit codes, standard output, and what the
//! operating system says of it. It knows nothing of brokers.
//!
//! | module | what |
//! | --- | --- |
//! | `runtime` | the executor and its threads |
//! | `disk_work` | work for clients that waits for the disk |
//! | `signals` | SIGTERM and SIGINT |
//! | `exit` | the end where memory is ahead of the disk |
//! | `failure` | how a command fails, and its exit code |
//! | `output` | what commands print |
//! | `random` | ids for the core, which makes none itself |
//! | `usage` | memory and bytes written |

pub mod disk_work;
pub mod exit;
pub mod failure;
pub mod output;
pub mod random;
pub mod runtime;
pub mod signals;
pub mod usage;
