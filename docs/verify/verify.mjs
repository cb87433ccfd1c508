// Evaluates a .dmodel with libgvm as a wasm module: exact losses in a browser or in Node.
//
// Structs are those of gvm/gvm.h as wasm32 lays them out; the library refuses other sizes.

const SIZES = { file: 72, info: 144, tensor: 104, options: 16, error: 512, loss: 24, finding: 24 };
const WIDTHS = { 1: 2, 2: 4, 3: 8, 4: 1, 5: 1 };
const NAMES = { i16: 1, i32: 2, u8: 4 };
const RANGES = { 1: [-32768, 32767], 2: [-2147483648, 2147483647], 4: [0, 255], 5: [0, 1] };
const INPUTS = 0, LABELS = 1, PARAMETERS = 2;

const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

// The module asks its host for little: the environment (there is none) and an end when it fails.
function host() {
  const calls = {
    environ_sizes_get: (memory) => (count, size) => {
      new DataView(memory().buffer).setUint32(count, 0, true);
      new DataView(memory().buffer).setUint32(size, 0, true);
      return 0;
    },
    proc_exit: () => (status) => {
      throw new Error(`the module ended with status ${status}: out of memory?`);
    },
  };
  let instance;
  const memory = () => instance.exports.memory;
  const imports = new Proxy({}, {
    get: (_, name) => (name in calls ? calls[name](memory) : () => 52 /* not there */),
    has: () => true,
  });
  return { imports: { wasi_snapshot_preview1: imports }, begin: (made) => (instance = made) };
}

export class Verifier {
  // bytes: those of gvm.wasm
  static async load(bytes) {
    const { imports, begin } = host();
    const { instance } = await WebAssembly.instantiate(bytes, imports);
    begin(instance);
    instance.exports._initialize();
    return new Verifier(instance.exports);
  }

  constructor(exports) {
    this.c = exports;
  }

  get version() {
    return this.text(this.c.gvm_version());
  }

  view() {
    return new DataView(this.c.memory.buffer);
  }

  text(at) {
    const bytes = new Uint8Array(this.c.memory.buffer, at);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  allocate(size) {
    const at = this.c.malloc(Math.max(size, 1));
    if (at === 0) throw new Error("out of memory");
    new Uint8Array(this.c.memory.buffer, at, size).fill(0);
    return at;
  }

  copy(bytes) {
    const at = this.allocate(bytes.length);
    new Uint8Array(this.c.memory.buffer, at, bytes.length).set(bytes);
    return at;
  }

  struct(name) {
    const at = this.allocate(SIZES[name]);
    this.view().setBigUint64(at, BigInt(SIZES[name]), true);
    return at;
  }

  check(status) {
    if (status === 0) return;
    const name = this.text(this.c.gvm_status_name(status));
    throw new Error(`${this.text(this.error + 4)} (${name})`);
  }

  pointer() {
    return this.allocate(4);
  }

  at(pointer) {
    return this.view().getUint32(pointer, true);
  }

  blake3(bytes) {
    const id = this.allocate(32);
    this.c.gvm_blake3(this.copy(bytes), bytes.length, id);
    return hex(new Uint8Array(this.c.memory.buffer, id, 32));
  }

  // What the element of a claim is (docs/traces.md), a BigInt; null where its operator refuses its
  // operands. Bytes that prove nothing are an Error. Needs no model.
  referee(claim) {
    this.error ??= this.allocate(SIZES.error);
    const bytes = this.copy(claim), finding = this.struct("finding");
    try {
      this.check(this.c.gvm_referee(bytes, claim.length, 0n, finding, this.error));
      const view = this.view();
      return view.getInt32(finding + 8, true) !== 0 ? null : view.getBigInt64(finding + 16, true);
    } finally {
      this.c.free(bytes);
      this.c.free(finding);
    }
  }

  // Loads a .dmodel: its ids, and the types of its inputs and labels.
  open(model) {
    this.error = this.allocate(SIZES.error);
    const bytes = this.copy(model), file = this.struct("file");
    this.check(this.c.gvm_file_parse(bytes, model.length, file, this.error));
    const part = (i) => [this.at(file + 8 + 16 * i), Number(this.view().getBigUint64(file + 16 + 16 * i, true))];
    const handle = this.pointer();
    this.check(this.c.gvm_program_new(...part(0), 0, handle, this.error));
    this.program = this.at(handle);
    const info = this.struct("info");
    this.check(this.c.gvm_program_get_info(this.program, info));
    const view = this.view();
    this.maxBatch = Number(view.getBigUint64(info + 8, true));
    if (view.getUint32(info + 68, true) === 0) throw new Error("the model has no loss");
    const graphId = hex(new Uint8Array(this.c.memory.buffer, info + 80, 32));
    const counts = [view.getUint32(info + 40, true), view.getUint32(info + 44, true)];
    const id = this.allocate(32);
    this.check(this.c.gvm_program_parameters_id(this.program, ...part(1), id, this.error));
    const parametersId = hex(new Uint8Array(this.c.memory.buffer, id, 32));
    const options = this.struct("options");
    this.view().setUint32(options + 8, 1, true);
    this.view().setInt32(options + 12, -1, true);
    this.check(this.c.gvm_session_new(this.program, options, handle, this.error));
    this.session = this.at(handle);
    this.check(this.c.gvm_session_write(this.session, PARAMETERS, ...part(1), this.error));
    this.types = [INPUTS, LABELS].map((section) =>
      Array.from({ length: counts[section] }, (_, i) => this.type(section, i)));
    return { graphId, parametersId, types: this.types };
  }

  type(section, index) {
    const tensor = this.struct("tensor");
    this.check(this.c.gvm_program_get_tensor(this.program, section, index, tensor));
    const view = this.view();
    const dims = Array.from({ length: view.getUint8(tensor + 11) }, (_, d) =>
      Number(view.getBigInt64(tensor + 16 + 8 * d, true)));
    return { dtype: view.getUint8(tensor + 8), bits: view.getInt8(tensor + 9), dims };
  }

  // The exact loss of data sets as readData gives them; progress(done, count) may be a promise.
  async evaluate(inputs, labels, progress = () => {}) {
    const sets = [inputs, labels].map((given, section) => {
      if (given.length !== this.types[section].length) {
        const what = section === INPUTS ? "inputs" : "labels";
        throw new Error(`${this.types[section].length} ${what} expected, received ${given.length}`);
      }
      return given.map((data, i) => integers(data, this.types[section][i], section === LABELS));
    });
    const count = sets[0][0].count;
    for (const set of sets.flat()) {
      if (set.count !== count) throw new Error(`${count} and ${set.count} examples`);
    }
    const batch = Math.max(1, Math.min(64, this.maxBatch)), loss = this.allocate(SIZES.loss);
    const room = sets.map((section) => section.map((set) => this.allocate(batch * set.row)));
    const pointers = room.map((section) => {
      const at = this.allocate(4 * section.length);
      section.forEach((p, i) => this.view().setUint32(at + 4 * i, p, true));
      return at;
    });
    for (let done = 0; done < count; done += batch) {
      const n = Math.min(batch, count - done);
      sets.forEach((section, s) => section.forEach((set, i) => {
        const rows = set.bytes.subarray(done * set.row, (done + n) * set.row);
        new Uint8Array(this.c.memory.buffer, room[s][i], rows.length).set(rows);
      }));
      this.check(this.c.gvm_session_loss(this.session, ...pointers, BigInt(n), loss, this.error));
      await progress(done + n, count);
    }
    const [total, examples, correct] = [0, 8, 16].map((o) => this.view().getBigInt64(loss + o, true));
    return { total, count: examples, correct };
  }

  // What `gvm evaluate` prints as digest.
  digest({ graphId, parametersId }, { total, count, correct }) {
    const text = `gvm.loss.v1\n${graphId} ${parametersId} ${total} ${count} ${correct}\n`;
    return this.blake3(new TextEncoder().encode(text));
  }
}

// Numbers as a type has them: a .gdata as it is, real numbers scaled, rounded half to even, clamped.
function integers(data, type, label) {
  const per = type.dims.slice(1).reduce((a, b) => a * b, 1), width = WIDTHS[type.dtype];
  if (data.shape.length !== type.dims.length || type.dims.some((d, i) => d !== -1 && d !== data.shape[i])) {
    throw new Error(`shape [${type.dims}] expected, received [${data.shape}]`);
  }
  const row = per * width, count = data.shape[0];
  if (data.dtype !== undefined) {
    if (data.dtype !== type.dtype || data.bits !== type.bits) {
      throw new Error("the data set has another format than the model: write it with --model");
    }
    return { bytes: data.bytes, row, count };
  }
  const bytes = new Uint8Array(row * count), view = new DataView(bytes.buffer);
  const [least, greatest] = RANGES[type.dtype], scale = 2 ** type.bits;
  data.values.forEach((value, i) => {
    const x = Number(value) * scale, floor = Math.floor(x), rest = x - floor;
    if (!Number.isFinite(x)) throw new Error("a number is not finite");
    if (label && type.bits === 0 && rest !== 0) throw new Error("labels must be whole numbers");
    let q = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
    if (label && (q < least || q > greatest)) throw new Error("a label is out of range");
    q = Math.min(greatest, Math.max(least, q));
    if (width === 2) view.setInt16(2 * i, q, true);
    else if (width === 4) view.setInt32(4 * i, q, true);
    else view.setUint8(i, q);
  });
  return { bytes, row, count };
}

// A .gdata or a .npy. The name of a .gdata is not checked here, the model's own checks are.
export function readData(bytes) {
  const magic = String.fromCharCode(...bytes.subarray(0, 7));
  if (magic === "GVMDATA" && bytes[7] === 1) return readGdata(bytes);
  if (magic.slice(0, 6) === "\x93NUMPY") return readNpy(bytes);
  throw new Error("neither a .gdata nor a .npy");
}

function readGdata(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = Number(view.getBigUint64(8, true));
  const header = cbor(bytes.subarray(16, 16 + size));
  const dtype = NAMES[header.dtype], shape = [header.count, ...header.shape];
  const data = bytes.subarray(16 + size);
  if (dtype === undefined || data.length !== shape.reduce((a, b) => a * b, 1) * WIDTHS[dtype]) {
    throw new Error("a damaged .gdata");
  }
  return { dtype, bits: header.fraction_bits, shape, bytes: data };
}

// The few kinds of items that the header of a .gdata has.
function cbor(bytes) {
  let at = 0;
  const item = () => {
    const first = bytes[at++], kind = first >> 5;
    let n = first & 31;
    if (n > 27) throw new Error("a damaged header");
    for (let more = n < 24 ? 0 : 2 ** (n - 24), i = 0; i < more; ++i) n = (i ? n * 256 : 0) + bytes[at++];
    if (kind === 0) return n;
    if (kind === 1) return -1 - n;
    if (kind === 4) return Array.from({ length: n }, item);
    if (kind === 5) return Object.fromEntries(Array.from({ length: n }, () => [item(), item()]));
    const part = bytes.subarray(at, (at += n));
    return kind === 3 ? new TextDecoder().decode(part) : part;
  };
  return item();
}

function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const begin = bytes[6] === 1 ? 10 : 12;
  const size = begin === 10 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(begin, begin + size));
  const kind = /'descr': '([<|=])([iufb])(\d)'/.exec(header);
  if (!kind || /'fortran_order': True/.test(header)) {
    throw new Error("a .npy of little-endian numbers in rows is expected");
  }
  const shape = [...(/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "").matchAll(/\d+/g)].map(Number);
  const [, , letter, width] = kind, data = begin + size;
  const read = {
    i1: "getInt8", i2: "getInt16", i4: "getInt32", i8: "getBigInt64", u1: "getUint8", b1: "getUint8",
    u2: "getUint16", u4: "getUint32", f4: "getFloat32", f8: "getFloat64",
  }[letter + width];
  const count = shape.reduce((a, b) => a * b, 1);
  if (!read || bytes.length !== data + count * width) throw new Error("a .npy of another kind");
  return { shape, values: Array.from({ length: count }, (_, i) => view[read](data + i * width, true)) };
}
