// A kafkajs client with the commands of ../README.md.
'use strict'

const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

const TYPES = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
})

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const sayRecord = (partition, m) => say({
  p: partition, o: Number(m.offset), t: Number(m.timestamp), k: m.key.toString(), v: m.value.toString(),
})
const open = (bootstrap) => new Kafka({ brokers: [bootstrap], logLevel: logLevel.WARN,
  retry: { initialRetryTime: 50, retries: 20 } })

async function create (bootstrap, topic, partitions) {
  const admin = open(bootstrap).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: Number(partitions), replicationFactor: 1 }] })
  await admin.disconnect()
}

async function produce (bootstrap, topic, partitions, codec, first, count, base) {
  const producer = open(bootstrap).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const messages = []
  for (let n = Number(first); n < Number(first) + Number(count); n++) {
    messages.push({ partition: n % Number(partitions), key: `k${n}`, value: `v${n}:` + 'x'.repeat(100),
      timestamp: String(Number(base) + n * 1000) })
  }
  await producer.send({ topic, acks: -1, compression: TYPES[codec], messages })
  await producer.disconnect()
  say({ acked: messages.length })
}

async function consume (bootstrap, topic, groupId) {
  const consumer = open(bootstrap).consumer({ groupId, heartbeatInterval: 300, sessionTimeout: 10000,
    maxWaitTimeInMs: 200 })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) =>
    say({ assigned: payload.memberAssignment[topic] || [] }))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: 4,
    eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
      let last = null
      for (const m of batch.messages) {
        if (!isRunning() || isStale()) break
        sayRecord(batch.partition, m)
        resolveOffset(m.offset)
        last = m.offset
      }
      if (last === null) return
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(Number(last) + 1) }])
      say({ committed: batch.messages.length })
    },
  })
  process.stdin.resume()
  process.stdin.on('end', async () => {
    await consumer.disconnect()
    say({ closed: true })
    process.exit(0)
  })
}

async function seek (bootstrap, topic, at) {
  const kafka = open(bootstrap)
  const admin = kafka.admin()
  await admin.connect()
  const places = await admin.fetchTopicOffsetsByTimestamp(topic, Number(at))
  await admin.disconnect()
  const consumer = kafka.consumer({ groupId: 'seek-' + topic, maxWaitTimeInMs: 200 })
  const first = new Map()
  await consumer.connect()
  await consumer.subscribe({ topics: [topic] })
  await new Promise((resolve) => {
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        const wanted = places.find((p) => p.partition === partition).offset
        if (first.has(partition) || Number(message.offset) < Number(wanted)) return
        first.set(partition, message)
        if (first.size === places.length) resolve()
      },
    })
    for (const { partition, offset } of places) consumer.seek({ topic, partition, offset })
  })
  for (const [partition, message] of first) sayRecord(partition, message)
  await consumer.disconnect()
}

async function main ([command, ...a]) {
  await zstd.init()
  switch (command) {
    case 'version':
      console.log(`client=kafkajs version=${require('kafkajs/package.json').version}`)
      break
    case 'create': return create(...a)
    case 'produce': return produce(...a)
    case 'consume': return consume(...a)
    case 'seek': return seek(...a)
    default: throw new Error(`unknown command ${command}`)
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error)
  process.exit(1)
})
