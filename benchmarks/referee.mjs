// Decides claims with the module: node benchmarks/referee.mjs gvm.wasm CLAIM...
// Prints, for each, what was found and the seconds of the first decision, as JSON.
import { readFileSync } from "node:fs";
import { Verifier } from "../docs/verify/verify.mjs";

const [library, ...claims] = process.argv.slice(2);
const verifier = await Verifier.load(readFileSync(library));
const rows = claims.map((path) => {
  const claim = new Uint8Array(readFileSync(path));
  const began = performance.now();
  let found;
  try {
    found = verifier.referee(claim);
  } catch (error) {
    return { refused: error.message };
  }
  return { found: found === null ? null : String(found), seconds: (performance.now() - began) / 1000 };
});
console.log(JSON.stringify(rows));
