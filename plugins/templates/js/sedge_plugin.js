// A sedge filter in JavaScript: hides the flat bytes of the world `record-filter`.
import { log as writeLog } from 'sedge:plugin/log@0.1.0';

const NULL = 0xffffffff;
const SAME = 0xfffffffe;
const SPAN_WORDS = 8;

export const keep = { verdict: 0 };
export const drop = { verdict: 1 };
// `key` and `value` are a text, a Uint8Array or null; a field that is left out stays.
export const replace = ({ key, value }) => ({ verdict: 2, key, value });
// The producer gets INVALID_RECORD with this text.
export const reject = (reason) => ({ verdict: 3, reason });
// The record is written to a topic that sedge.filter.routes names, with fields as in replace.
export const route = (topic, { key, value } = {}) => ({ verdict: 4, topic, key, value });

// Writes a line to the broker's log; `level` is 'error', 'warn', 'info' or 'debug'.
export const log = (level, line) => writeLog(level, String(line));

// Returns what a component has to export. `configure` gets a Map of the settings, and throws a text
// to refuse them; `filter` gets a Record and returns keep, drop, replace(...),
// reject(...) or route(...).
export function exported({ needs = ['value'], configure = () => {}, filter }) {
  const described = Object.fromEntries(needs.map((field) => [field, true]));
  return {
    lifecycle: {
      configure(settings) {
        try {
          configure(new Map(settings));
        } catch (refusal) {
          throw String(refusal);
        }
      },
    },
    filter: {
      describe: () => described,
      filterBatch: (info, blob, spans) => told(() => answered(filter, info, blob, spans)),
    },
  };
}

export class Record {
  #blob;
  #words;
  #at;

  constructor(batch, blob, words, at) {
    this.batch = batch;
    this.#blob = blob;
    this.#words = words;
    this.#at = at;
  }

  // Fields are a Uint8Array, or null; the others are null if they are not in `needs`.
  get key() { return this.#field(0); }
  get value() { return this.#field(2); }
  // The text of a field; null if the field is null or not UTF-8.
  get keyText() { return textOf(this.key); }
  get valueText() { return textOf(this.value); }

  get timestampMs() {
    const [low, high] = [this.#words[this.#at + 6], this.#words[this.#at + 7] | 0];
    return Number(this.batch.baseTimestampMs) + high * 0x100000000 + low;
  }

  // [name, value] of each header, as Uint8Arrays.
  get headers() {
    const bytes = this.#field(4) ?? [0];
    let at = 0;
    const number = () => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
      }
    };
    const field = (length) => (length < 0 ? null : bytes.subarray(at, (at += length)));
    return Array.from({ length: number() }, () => [field(number()), field(number())]);
  }

  #field(index) {
    const [offset, length] = [this.#words[this.#at + index], this.#words[this.#at + index + 1]];
    return length === NULL ? null : this.#blob.subarray(offset, offset + length);
  }
}

// An error ends the instance without a word, so it is logged.
function told(run) {
  try {
    return run();
  } catch (error) {
    log('error', `${error}\n${error?.stack ?? ''}`);
    throw error;
  }
}

function answered(filter, info, blob, spans) {
  // A copy begins at an address that words may have.
  const words = new Uint32Array(spans.slice().buffer);
  const verdicts = new Uint8Array(words.length / SPAN_WORDS);
  const [replacements, pieces, reasons, topics] = [[], [], [], []];
  let end = 0;
  const put = (field) => {
    if (field === undefined) return replacements.push(end, SAME);
    if (field === null) return replacements.push(end, NULL);
    const bytes = typeof field === 'string' ? bytesOf(field) : field;
    replacements.push(end, bytes.length);
    pieces.push(bytes);
    end += bytes.length;
  };
  for (let index = 0; index < verdicts.length; index++) {
    const answer = filter(new Record(info, blob, words, index * SPAN_WORDS));
    verdicts[index] = answer.verdict;
    if (answer === keep || answer === drop) continue;
    if (answer.verdict === 3) {
      reasons.push(String(answer.reason));
      continue;
    }
    if (answer.verdict === 4) {
      if (!topics.includes(answer.topic)) topics.push(answer.topic);
      verdicts[index] += topics.indexOf(answer.topic);
    }
    put(answer.key);
    put(answer.value);
  }
  const replacementBlob = new Uint8Array(end);
  end = 0;
  for (const piece of pieces) {
    replacementBlob.set(piece, end);
    end += piece.length;
  }
  const entries = new Uint8Array(new Uint32Array(replacements).buffer);
  return { verdicts, replacements: entries, replacementBlob, reasons: [...reasons, ...topics] };
}

function textOf(bytes) {
  if (bytes === null) return null;
  let text = '';
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
  }
  try {
    return /[\x80-\xff]/.test(text) ? decodeURIComponent(escape(text)) : text;
  } catch {
    return null;
  }
}

function bytesOf(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
}
