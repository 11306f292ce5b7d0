import asc from "assemblyscript/asc";
import binaryen from "binaryen";
import { readFileSync, writeFileSync } from "node:fs";

const { error, stderr } = await asc.main(["filter.ts", "--outFile", "filter.wasm", "-O3", "--runtime", "stub",
  "--use", "abort="]);
if (error) throw new Error(stderr.toString());
const module = binaryen.readBinary(readFileSync("filter.wasm"));
const FILTER = "sedge:plugin/filter@0.1.0#filter-batch";
for (const [from, to] of Object.entries({
  configure: "sedge:plugin/lifecycle@0.1.0#configure",
  describe: "sedge:plugin/filter@0.1.0#describe",
  filter_batch: FILTER,
  filter_batch_done: `cabi_post_${FILTER}`,
})) {
  const of = binaryen.getExportInfo(module.getExport(from)).value;
  module.removeExport(from);
  module.addFunctionExport(of, to);
}
writeFileSync("module.wasm", module.emitBinary());
