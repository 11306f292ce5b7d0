// Answers as each record's value says; see records.jsonl.
import { drop, exported, keep, reject, replace, route } from './sedge_plugin.js';

export const { lifecycle, filter } = exported({
  needs: ['key', 'value', 'headers'],
  configure(settings) {
    if (settings.get('refuse') === 'yes') throw 'setting refuse: says so';
  },
  filter(record) {
    switch (record.valueText) {
      case null: return record.value === null ? replace({ value: 'was null' }) : keep;
      case 'drop': return drop;
      case 'null': return replace({ value: null });
      case 'reject': return reject('says so: é');
      case 'swap': return replace({ key: record.value, value: record.key });
      case 'time': return replace({ value: String(record.timestampMs) });
      // As Kafka encodes them: all names and values here are short.
      case 'headers': return replace({ value: encoded(record.headers) });
      case 'topic': return replace({ value: record.batch.topic });
      case 'route': case 'route again': return route('first');
      case 'route elsewhere': return route('second');
      default: return keep;
    }
  },
});

function encoded(headers) {
  const field = (bytes) => (bytes === null ? [1] : [bytes.length * 2, ...bytes]);
  const fields = headers.flatMap(([name, value]) => [...field(name), ...field(value)]);
  return Uint8Array.from([headers.length * 2, ...fields]);
}
