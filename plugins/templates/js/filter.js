// Drops records whose value contains a word: the setting `sedge.plugin.my-plugin.word` of the
// topic, by default `debug`.
import { drop, exported, keep } from './sedge_plugin.js';

let word;

export const { lifecycle, filter } = exported({
  needs: ['value'],
  configure(settings) {
    word = settings.get('word') ?? 'debug';
    if (word === '') throw 'setting word: must not be empty';
  },
  filter(record) {
    return record.valueText?.includes(word) ? drop : keep;
  },
});
