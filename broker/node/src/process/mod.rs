//! Facilities of a process: threads and signals, exit codes, output and logs, and figures from the
//! operating system. Nothing here knows brokers.
//!
//! | module | contents |
//! | --- | --- |
//! | `allocator` | the allocator's setting for large blocks of memory |
//! | `code_pages` | gives up the pages of the program that only the start needed |
//! | `runtime` | the executor and its threads |
//! | `core_dumps` | turns core dumps off, because they would contain secrets |
//! | `disk_work` | work for clients that waits for the disk |
//! | `signals` | SIGTERM and SIGINT |
//! | `exit` | ends the process when memory is ahead of the disk |
//! | `failure` | a command's failure, and its exit code |
//! | `logging` | log lines on standard error |
//! | `notify` | tells the service manager that the broker is ready and lives |
//! | `output` | prints commands' results |
//! | `private_file` | checks owner and mode of a file with a secret |
//! | `random` | ids for the core, which generates none itself |
//! | `secret` | text that `Debug` and logs never show |
//! | `usage` | memory and bytes written |

pub mod allocator;
pub mod code_pages;
pub mod core_dumps;
pub mod disk_work;
pub mod exit;
pub mod failure;
pub mod logging;
pub mod notify;
pub mod output;
pub mod private_file;
pub mod random;
pub mod runtime;
pub mod secret;
pub mod signals;
pub mod usage;
