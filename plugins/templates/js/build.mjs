// Makes build/plugin.wasm of filter.js, with the JavaScript engine QuickJS in it.
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from 'componentize-qjs';

const { component } = await componentize({
  witPath: 'wit',
  // 'record-filter' for a filter that uses its state.
  world: 'stateless-record-filter',
  jsSource: await readFile('filter.js', 'utf8'),
  jsPath: 'filter.js',
  moduleRoot: '.',
  stubWasi: true,
  sync: true,
});
await writeFile('build/plugin.wasm', component);
