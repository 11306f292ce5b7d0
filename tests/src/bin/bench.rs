//! `bench NAME`: measurements, with the commit and the spread of several runs. Without a name it
//! lists them.

#![allow(clippy::print_stdout, reason = "the table is the output")]

use sedge_tests::bench::throughput::Plan;
use sedge_tests::bench::{
    acls, catch_up, compaction, connections, fetch_filter, group_memory, groups, heading, memory,
    metadata, mirror, mirror_maker, mirror_memory, mirror_narrow, plugins, quotas, rebalance,
    retention, sasl, scale, start, tails, throughput, tls, transactions, validation,
    write_amplification,
};

const USAGE: &str =
    "usage: bench kafka [--rounds N] [--seconds N] [--warm-mb N] [--partitions N] [--cells TEXT]
                   [--alone]
       bench tails [--rounds N] [--seconds N] [--warm-mb N] [--cells TEXT] [--alone]
       bench start [--rounds N] [--partitions N] [--alone]
       bench memory [--alone]
       bench metadata [--records N] [--rounds N] [--alone]
       bench retention [--alone]
       bench scale [--partitions N] [--mb N] [--rounds N] [--alone]
       bench write-amp [--alone]
       bench compaction [--alone]
       bench catch-up [--alone]
       bench validation [--rounds N] [--seconds N] [--warm-mb N] [--cells TEXT]
       bench acls [--rules N] [--rounds N]
       bench quotas [--seconds N] [--alone]
       bench tls [--rounds N] [--seconds N] [--warm-mb N] [--cells TEXT] [--alone]
       bench sasl [--rounds N] [--seconds N] [--alone]
       bench connections [--idle N] [--rounds N] [--seconds N] [--alone]
       bench mirror [--mb N] [--seconds N]
       bench mirror-maker [--records N] [--mb N] [--rounds N]
       bench mirror-memory [--rounds N]
       bench mirror-narrow [--seconds N]
       bench fetch-filter [--mb N] [--rounds N]
       bench plugins [--rounds N] [--seconds N] [--cells TEXT]
       bench groups [--groups N] [--connections N] [--in-flight N] [--rounds N] [--seconds N]
                    [--alone]
       bench group-memory [--groups N] [--rounds N]
       bench rebalance [--members N] [--rounds N] [--alone]
       bench transactions [--producers N] [--rounds N] [--seconds N] [--alone]
--alone leaves Apache Kafka out; TEXT is part of a cell's name, as in 'interval 64K'";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        let value = at
            .and_then(|at| arguments.get(at + 1))
            .map(|text| text.parse());
        value
            .unwrap_or(Ok(default))
            .unwrap_or_else(|_| panic!("{name} needs a number\n{USAGE}"))
    };
    let text = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let with_kafka = !arguments.iter().any(|a| a == "--alone");
    let what = arguments.first().map_or("", String::as_str);
    let known = [
        "kafka",
        "tails",
        "start",
        "memory",
        "metadata",
        "retention",
        "scale",
        "write-amp",
        "compaction",
        "catch-up",
        "validation",
        "acls",
        "quotas",
        "tls",
        "sasl",
        "connections",
        "fetch-filter",
        "mirror",
        "mirror-maker",
        "mirror-memory",
        "mirror-narrow",
        "plugins",
        "groups",
        "group-memory",
        "rebalance",
        "transactions",
    ];
    if !known.contains(&what) {
        println!("{USAGE}");
        std::process::exit(64);
    }
    println!("{}", heading());
    match what {
        "kafka" => {
            let default = Plan::default();
            let plan = Plan {
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                warm_bytes: number("--warm-mb", default.warm_bytes / 1_000_000) * 1_000_000,
                partitions: number("--partitions", default.partitions as u64) as i32,
                cells: text("--cells").unwrap_or_default(),
                with_kafka,
                ..default
            };
            println!("{}", throughput::run(&plan, &|line| println!("{line}")));
        }
        "tails" => {
            let default = tails::Plan::default();
            let plan = tails::Plan {
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                warm_bytes: number("--warm-mb", default.warm_bytes / 1_000_000) * 1_000_000,
                cells: text("--cells").unwrap_or_default(),
                with_kafka,
            };
            println!("{}", tails::run(&plan, &|line| println!("{line}")));
        }
        "validation" => {
            let default = validation::Plan::default();
            let plan = validation::Plan {
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                warm_bytes: number("--warm-mb", default.warm_bytes / 1_000_000) * 1_000_000,
                cells: text("--cells").unwrap_or_default(),
                ..default
            };
            println!("{}", validation::run(&plan, &|line| println!("{line}")));
        }
        "start" => {
            let rounds = number("--rounds", 5) as usize;
            println!(
                "{}",
                start::run(rounds, number("--partitions", 10) as i32, with_kafka)
            );
        }
        "scale" => {
            let plan = scale::Plan {
                partitions: number("--partitions", 10_000) as i32,
                data_mb: number("--mb", scale::DATA_MB as u64) as usize,
                rounds: number("--rounds", 5) as usize,
                with_kafka,
            };
            scale::run(plan, &|line| println!("{line}"));
        }
        "metadata" => {
            let plan = metadata::Plan {
                records: number("--records", 1_000_000),
                rounds: number("--rounds", 5) as usize,
                with_kafka,
            };
            metadata::run(plan, &|line| println!("{line}"));
        }
        "mirror" => {
            let text = mirror::run(number("--mb", 500), number("--seconds", 20));
            print!("{text}");
        }
        "mirror-maker" => {
            let plan = mirror_maker::Plan {
                records: number("--records", 10_000) as usize,
                mb: number("--mb", 300),
                rounds: number("--rounds", 3) as usize,
            };
            print!("{}", mirror_maker::run(plan));
        }
        "mirror-memory" => print!("{}", mirror_memory::run(number("--rounds", 3) as usize)),
        "mirror-narrow" => print!("{}", mirror_narrow::run(number("--seconds", 300))),
        "fetch-filter" => {
            let plan = fetch_filter::Plan {
                bytes: number("--mb", 512) * 1_000_000,
                rounds: number("--rounds", 3) as usize,
            };
            fetch_filter::run(plan, &|line| print!("{line}"));
        }
        "plugins" => {
            let plan = plugins::Plan {
                rounds: number("--rounds", 5) as usize,
                seconds: number("--seconds", 3),
                cells: text("--cells").unwrap_or_default(),
            };
            plugins::run(&plan, &|line| println!("{line}"));
        }
        "acls" => {
            let rules = number("--rules", 10_000).max(1) as usize;
            println!("{}", acls::run(rules, number("--rounds", 5) as usize));
        }
        "quotas" => println!("{}", quotas::run(number("--seconds", 33), with_kafka)),
        "tls" => {
            let default = tls::Plan::default();
            let plan = tls::Plan {
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                warm_bytes: number("--warm-mb", default.warm_bytes / 1_000_000) * 1_000_000,
                cells: text("--cells").unwrap_or_default(),
                with_kafka,
            };
            println!("{}", tls::run(&plan, &|line| println!("{line}")));
        }
        "sasl" => {
            let default = tls::Plan::default();
            let plan = tls::Plan {
                rounds: number("--rounds", 5) as usize,
                seconds: number("--seconds", default.seconds),
                with_kafka,
                ..default
            };
            println!("{}", sasl::run(&plan, &|line| println!("{line}")));
        }
        "connections" => {
            let default = connections::Plan::default();
            let plan = connections::Plan {
                idle: number("--idle", default.idle as u64) as usize,
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                with_kafka,
            };
            println!("{}", connections::run(&plan, &|line| println!("{line}")));
        }
        "group-memory" => {
            let groups = number("--groups", 10_000).max(1) as usize;
            print!(
                "{}",
                group_memory::run(groups, number("--rounds", 5) as usize)
            );
        }
        "rebalance" => {
            let members = number("--members", 100).max(2) as usize;
            let rounds = number("--rounds", 5) as usize;
            print!("{}", rebalance::run(members, rounds, with_kafka));
        }
        "transactions" => {
            let default = transactions::Plan::default();
            let plan = transactions::Plan {
                producers: number("--producers", default.producers as u64) as usize,
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                with_kafka,
            };
            println!("{}", transactions::run(&plan, &|line| println!("{line}")));
        }
        "groups" => {
            let default = groups::Plan::default();
            let plan = groups::Plan {
                groups: number("--groups", default.groups as u64) as usize,
                connections: number("--connections", default.connections as u64) as usize,
                in_flight: number("--in-flight", default.in_flight as u64) as usize,
                rounds: number("--rounds", default.rounds as u64) as usize,
                seconds: number("--seconds", default.seconds),
                with_kafka,
            };
            println!("{}", groups::run(&plan, &|line| println!("{line}")));
        }
        "compaction" => println!("{}", compaction::run(with_kafka)),
        "catch-up" => println!("{}", catch_up::run(with_kafka)),
        "memory" => println!("{}", memory::run(with_kafka)),
        "retention" => println!("{}", retention::run(with_kafka)),
        _ => write_amplification::run(with_kafka, &|line| println!("{line}")),
    }
}
