// A sarama client with the command interface that every client program here has (see ../../README.md).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var outLock sync.Mutex

func say(line any) {
	text, err := json.Marshal(line)
	check(err)
	outLock.Lock()
	defer outLock.Unlock()
	fmt.Println(string(text))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sarama:", err)
		os.Exit(1)
	}
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return n
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Metadata.Retry.Backoff = 100 * time.Millisecond
	return c
}

type seen struct {
	P int32  `json:"p"`
	O int64  `json:"o"`
	T int64  `json:"t"`
	K string `json:"k"`
	V string `json:"v"`
}

func sayRecord(m *sarama.ConsumerMessage) {
	say(seen{m.Partition, m.Offset, m.Timestamp.UnixMilli(), string(m.Key), string(m.Value)})
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/IBM/sarama" {
			return dep.Version
		}
	}
	return "unknown"
}

func create(bootstrap, topic string, partitions int64) {
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, config())
	check(err)
	defer admin.Close()
	check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1}, false))
}

func produce(bootstrap, topic string, partitions int64, codec string, first, count, base int64) {
	c := config()
	c.Producer.Compression = codecs[codec]
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, c)
	check(err)
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for n := first; n < first+count; n++ {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: int32(n % partitions),
			Key:       sarama.StringEncoder(fmt.Sprintf("k%d", n)),
			Value:     sarama.StringEncoder(fmt.Sprintf("v%d:%s", n, strings.Repeat("x", 100))),
			Timestamp: time.UnixMilli(base + n*1000)})
	}
	check(producer.SendMessages(messages))
	say(map[string]any{"acked": count})
}

type member struct{ topic string }

func (m member) Setup(s sarama.ConsumerGroupSession) error {
	list := s.Claims()[m.topic]
	if list == nil {
		list = []int32{}
	}
	say(map[string]any{"assigned": list})
	return nil
}

func (m member) Cleanup(s sarama.ConsumerGroupSession) error {
	s.Commit()
	return nil
}

func (m member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, open := <-claim.Messages():
			if !open {
				return nil
			}
			sayRecord(r)
			s.MarkMessage(r, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func consume(bootstrap, topic, group string) {
	c := config()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	client, err := sarama.NewConsumerGroup([]string{bootstrap}, group, c)
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewScanner(os.Stdin).Scan()
		cancel()
	}()
	for ctx.Err() == nil {
		err := client.Consume(ctx, []string{topic}, member{topic})
		if err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "consume:", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	check(client.Close())
	say(map[string]any{"closed": true})
}

func seek(bootstrap, topic string, at int64) {
	client, err := sarama.NewClient([]string{bootstrap}, config())
	check(err)
	defer client.Close()
	partitions, err := client.Partitions(topic)
	check(err)
	consumer, err := sarama.NewConsumerFromClient(client)
	check(err)
	for _, p := range partitions {
		offset, err := client.GetOffset(topic, p, at)
		check(err)
		records, err := consumer.ConsumePartition(topic, p, offset)
		check(err)
		select {
		case r := <-records.Messages():
			sayRecord(r)
		case <-time.After(30 * time.Second):
			check(fmt.Errorf("no record at offset %d of partition %d", offset, p))
		}
		records.Close()
	}
}

func main() {
	a := os.Args[1:]
	switch a[0] {
	case "version":
		fmt.Printf("client=sarama version=%s\n", version())
	case "create":
		create(a[1], a[2], number(a[3]))
	case "produce":
		produce(a[1], a[2], number(a[3]), a[4], number(a[5]), number(a[6]), number(a[7]))
	case "consume":
		consume(a[1], a[2], a[3])
	case "seek":
		seek(a[1], a[2], number(a[3]))
	default:
		check(fmt.Errorf("unknown command %s", a[0]))
	}
}
