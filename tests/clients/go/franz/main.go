// A franz-go client with the command interface that every client program here has (see ../../README.md).
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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var out = bufio.NewWriter(os.Stdout)
var outLock sync.Mutex

func say(line any) {
	text, err := json.Marshal(line)
	check(err)
	outLock.Lock()
	defer outLock.Unlock()
	out.Write(text)
	out.WriteByte('\n')
	out.Flush()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "franz-go:", err)
		os.Exit(1)
	}
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return n
}

func open(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(options...)
	check(err)
	return client
}

// reading is what a sensor says: every fifth is far out of range.
func reading(n int64) string {
	celsius := 20 + n%10
	if n%5 == 0 {
		celsius = 999
	}
	return fmt.Sprintf(`{"sensor":"s%d","celsius":%d}`, n%7, celsius)
}

func value(n int64) string { return fmt.Sprintf("v%d:%s", n, strings.Repeat("x", 100)) }

type seen struct {
	P int32  `json:"p"`
	O int64  `json:"o"`
	T int64  `json:"t"`
	K string `json:"k"`
	V string `json:"v"`
}

func sayRecord(r *kgo.Record) {
	say(seen{r.Partition, r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value)})
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/twmb/franz-go" {
			return dep.Version
		}
	}
	return "unknown"
}

func create(bootstrap, topic string, partitions int64) {
	client := open(kgo.SeedBrokers(bootstrap))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	reply, err := kadm.NewClient(client).CreateTopic(ctx, int32(partitions), 1, nil, topic)
	check(err)
	check(reply.Err)
}

func produce(bootstrap, topic string, partitions int64, codec string, first, count, base int64) {
	client := open(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[codec]))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var records []*kgo.Record
	for n := first; n < first+count; n++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % partitions),
			Key: []byte(fmt.Sprintf("k%d", n)), Value: []byte(value(n)),
			Timestamp: time.UnixMilli(base + n*1000)})
	}
	check(client.ProduceSync(ctx, records...).FirstErr())
	say(map[string]any{"acked": count})
}

func consume(bootstrap, topic, group string) {
	ctx, cancel := context.WithCancel(context.Background())
	assigned := map[int32]bool{}
	var lock sync.Mutex
	sayAssigned := func() {
		list := []int32{}
		for p := range assigned {
			list = append(list, p)
		}
		say(map[string]any{"assigned": list})
	}
	options := []kgo.Opt{}
	if os.Getenv("GROUP_PROTOCOL") == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	client := open(append(options, kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			lock.Lock()
			defer lock.Unlock()
			for _, p := range m[topic] {
				assigned[p] = true
			}
			sayAssigned()
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			lock.Lock()
			defer lock.Unlock()
			for _, p := range m[topic] {
				delete(assigned, p)
			}
			sayAssigned()
		}))...)
	go func() {
		bufio.NewScanner(os.Stdin).Scan()
		cancel()
	}()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				fmt.Fprintln(os.Stderr, "fetch:", e.Err)
			}
		}
		fetches.EachRecord(sayRecord)
		if fetches.NumRecords() > 0 {
			if err := client.CommitUncommittedOffsets(context.Background()); err == nil {
				say(map[string]any{"committed": fetches.NumRecords()})
			} else {
				fmt.Fprintln(os.Stderr, "commit:", err)
			}
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	say(map[string]any{"closed": true})
}

func seek(bootstrap, topic string, at int64) {
	client := open(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(at)))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	offsets, err := kadm.NewClient(client).ListOffsetsAfterMilli(ctx, at, topic)
	check(err)
	check(offsets.Error())
	missing := len(offsets[topic])
	first := map[int32]bool{}
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if first[r.Partition] {
				return
			}
			first[r.Partition] = true
			missing--
			listed, _ := offsets.Lookup(topic, r.Partition)
			if listed.Offset != r.Offset {
				check(fmt.Errorf("partition %d: listed %d, read %d", r.Partition, listed.Offset, r.Offset))
			}
			sayRecord(r)
		})
	}
}

// soak produces numbered records, idempotent, a few in flight, through whatever happens to the
// broker, and says what was acknowledged and where. It ends when its standard input closes.
func soak(bootstrap, topic string, partitions int64, content func(int64) string) {
	client := open(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 25 * time.Millisecond }),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.MaxBufferedRecords(2000),
		kgo.RecordRetries(1<<30), kgo.StopProducerOnDataLossDetected())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewScanner(os.Stdin).Scan()
		cancel()
	}()
	n := int64(0)
	for ; ctx.Err() == nil; n++ {
		record := &kgo.Record{Topic: topic, Partition: int32(n % partitions),
			Key: []byte(fmt.Sprintf("k%d", n)), Value: []byte(content(n))}
		number := n
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				say(map[string]any{"failed": number, "why": err.Error()})
				return
			}
			say(map[string]any{"n": number, "p": r.Partition, "o": r.Offset})
		})
		if n%20 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	flush, done := context.WithTimeout(context.Background(), deadline)
	defer done()
	check(client.Flush(flush))
	say(map[string]any{"sent": n})
}

func main() {
	a := os.Args[1:]
	switch a[0] {
	case "version":
		fmt.Printf("client=franz-go version=%s\n", version())
	case "create":
		create(a[1], a[2], number(a[3]))
	case "produce":
		produce(a[1], a[2], number(a[3]), a[4], number(a[5]), number(a[6]), number(a[7]))
	case "consume":
		consume(a[1], a[2], a[3])
	case "seek":
		seek(a[1], a[2], number(a[3]))
	case "soak":
		soak(a[1], a[2], number(a[3]), value)
	case "readings":
		soak(a[1], a[2], number(a[3]), reading)
	default:
		check(fmt.Errorf("unknown command %s", a[0]))
	}
}
