// The page: files are dropped or chosen, or named in the address (?model=...&inputs=...&labels=...).
import { Verifier, readData } from "./verify.mjs";

const element = (id) => document.getElementById(id);
const chosen = {};

function say(id, text) {
  element(id).textContent = text;
}

async function library() {
  const inside = element("module").textContent.trim();
  if (inside) return Uint8Array.from(atob(inside), (c) => c.charCodeAt(0));
  return new Uint8Array(await (await fetch("gvm.wasm")).arrayBuffer());
}

async function run() {
  if (!chosen.model || !chosen.inputs || !chosen.labels) return;
  const began = performance.now();
  say("status", "reading");
  try {
    const verifier = await Verifier.load(await library());
    const ids = verifier.open(chosen.model);
    say("graph_id", ids.graphId);
    say("parameters_id", ids.parametersId);
    const loss = await verifier.evaluate(
      [readData(chosen.inputs)], [readData(chosen.labels)], async (done, count) => {
        element("progress").max = count;
        element("progress").value = done;
        say("status", `${done} of ${count} examples`);
        await new Promise((resume) => setTimeout(resume, 0));
      });
    for (const name of ["total", "count", "correct"]) say(name, String(loss[name]));
    say("loss", String(Number(loss.total) / 2 ** 24 / Number(loss.count)));
    say("digest", verifier.digest(ids, loss));
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    say("status", `verified by gvm ${verifier.version} in ${seconds} s`);
  } catch (error) {
    say("status", `refused: ${error.message}`);
  }
}

// Which of the three a file is: a model by its first bytes, labels by one number per example.
function take(bytes) {
  if (String.fromCharCode(...bytes.subarray(0, 6)) === "DMODEL") {
    chosen.model = bytes;
    return;
  }
  const { shape } = readData(bytes);
  chosen[shape.length === 1 ? "labels" : "inputs"] = bytes;
}

async function takeFiles(files) {
  try {
    for (const file of files) take(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    say("status", `refused: ${error.message}`);
    return;
  }
  const missing = ["model", "inputs", "labels"].filter((name) => !chosen[name]);
  say("status", missing.length ? `still needed: ${missing.join(", ")}` : "reading");
  await run();
}

document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  takeFiles(event.dataTransfer.files);
});
element("files").addEventListener("change", (event) => takeFiles(event.target.files));

const named = new URLSearchParams(location.search);
if (named.has("model")) {
  for (const name of ["model", "inputs", "labels"]) {
    chosen[name] = new Uint8Array(await (await fetch(named.get(name))).arrayBuffer());
  }
  await run();
}
