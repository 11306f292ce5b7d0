//! Runs Kafka's command line tools by their usual names.

use std::process::Command;

use crate::tools;

/// Returns the tool's main class.
pub fn main_class(tool: &str) -> &'static str {
    match tool {
        "kafka-acls" => "org.apache.kafka.tools.AclCommand",
        "kafka-broker-api-versions" => "org.apache.kafka.tools.BrokerApiVersionsCommand",
        "kafka-client-metrics" => "org.apache.kafka.tools.ClientMetricsCommand",
        "kafka-cluster" => "org.apache.kafka.tools.ClusterTool",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-consumer-perf-test" => "org.apache.kafka.tools.ConsumerPerformance",
        "kafka-delegation-tokens" => "org.apache.kafka.tools.DelegationTokenCommand",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-e2e-latency" => "org.apache.kafka.tools.EndToEndLatency",
        "kafka-features" => "org.apache.kafka.tools.FeatureCommand",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-groups" => "org.apache.kafka.tools.GroupsCommand",
        "kafka-leader-election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "kafka-log-dirs" => "org.apache.kafka.tools.LogDirsCommand",
        "kafka-metadata-quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "kafka-producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        "kafka-reassign-partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-transactions" => "org.apache.kafka.tools.TransactionsCommand",
        "kafka-verifiable-consumer" => "org.apache.kafka.tools.VerifiableConsumer",
        "kafka-verifiable-producer" => "org.apache.kafka.tools.VerifiableProducer",
        "connect-distributed" => "org.apache.kafka.connect.cli.ConnectDistributed",
        "connect-standalone" => "org.apache.kafka.connect.cli.ConnectStandalone",
        _ => panic!("no main class is known for {tool}"),
    }
}

/// Returns a command for `tool`, to which arguments can be added.
pub fn command(tool: &str) -> Command {
    tools::java(main_class(tool), 256)
}
