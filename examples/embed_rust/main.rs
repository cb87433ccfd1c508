// Evaluates a .dmodel in Rust: prints its ids and the exact loss, as ../embed_c does. The
// declarations are written by hand from gvm/gvm.h.
//
//   rustc main.rs -L <folder of libgvm> -o embed_rust && ./embed_rust model.dmodel x.raw y.raw
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::{env, fs, process, ptr};

#[repr(C)]
struct Error {
    status: i32,
    message: [c_char; 508],
}

#[repr(C)]
struct File {
    struct_size: u64,
    parts: [Part; 4], // program, parameters, state, info
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    bytes: *const u8,
    size: u64,
}

#[repr(C)]
struct Info {
    struct_size: u64,
    max_batch: u64,
    parameter_bytes: u64,
    state_bytes: u64,
    totals: u64,
    counts: [u32; 6], // inputs, labels, parameters, state, outputs, total_tensors
    segments: u32,
    loss_outputs: u32,
    has_apply: u32,
    sites: u32,
    graph_id: [u8; 32],
    train_id: [u8; 32],
}

#[repr(C)]
struct Type {
    dtype: u8,
    fraction_bits: i8,
    partial: u8,
    rank: u8,
    reserved: [u8; 4],
    dims: [i64; 8],
    bound: u64,
}

#[repr(C)]
struct Tensor {
    struct_size: u64,
    kind: Type,
    offset: u64,
    segment: u32,
    reserved: u32,
}

#[repr(C)]
struct Loss {
    total: i64,
    count: i64,
    correct: i64,
}

enum Program {}
enum Session {}

#[link(name = "gvm")]
extern "C" {
    fn gvm_abi_version() -> c_int;
    fn gvm_status_name(status: c_int) -> *const c_char;
    fn gvm_file_parse(b: *const u8, n: usize, file: *mut File, e: *mut Error) -> c_int;
    fn gvm_program_new(
        bytes: *const u8, size: usize, limits: *const c_void, program: *mut *mut Program,
        error: *mut Error,
    ) -> c_int;
    fn gvm_program_free(program: *mut Program);
    fn gvm_program_get_info(program: *const Program, info: *mut Info) -> c_int;
    fn gvm_program_get_tensor(p: *const Program, s: c_int, i: u32, t: *mut Tensor) -> c_int;
    fn gvm_program_parameters_id(
        program: *const Program, bytes: *const u8, size: usize, id: *mut u8, error: *mut Error,
    ) -> c_int;
    fn gvm_session_new(
        program: *const Program, options: *const c_void, session: *mut *mut Session,
        error: *mut Error,
    ) -> c_int;
    fn gvm_session_free(session: *mut Session);
    fn gvm_session_write(
        session: *mut Session, section: c_int, bytes: *const u8, size: usize, error: *mut Error,
    ) -> c_int;
    fn gvm_session_loss(
        session: *mut Session, inputs: *const *const c_void, labels: *const *const c_void, n: u64,
        loss: *mut Loss, error: *mut Error,
    ) -> c_int;
}

const INPUTS: c_int = 0;
const LABELS: c_int = 1;
const PARAMETERS: c_int = 2;
const ABI_VERSION: c_int = 1;

fn check(status: c_int, error: &Error) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    let text = |at| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned();
    Err(format!("{} ({})", text(error.message.as_ptr()), text(unsafe { gvm_status_name(status) })))
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of one example of the first tensor of a section; the batch is its first axis.
fn example_bytes(program: *const Program, section: c_int) -> Result<usize, String> {
    let mut tensor: Tensor = unsafe { std::mem::zeroed() };
    tensor.struct_size = std::mem::size_of::<Tensor>() as u64;
    let status = unsafe { gvm_program_get_tensor(program, section, 0, &mut tensor) };
    let kind = &tensor.kind;
    if status != 0 || kind.rank == 0 || kind.dims[0] != -1 {
        return Err("needs a loss, one input and one label, batch axis first".into());
    }
    let width = [0, 2, 4, 8, 1, 1][kind.dtype as usize];
    Ok(kind.dims[1..kind.rank as usize].iter().fold(width, |n, d| n * *d as usize))
}

/// A program and a session that are freed with their owner.
struct Model(*mut Program, *mut Session);

impl Drop for Model {
    fn drop(&mut self) {
        unsafe {
            gvm_session_free(self.1);
            gvm_program_free(self.0);
        }
    }
}

fn run(names: &[String]) -> Result<(), String> {
    let read = |name: &String| fs::read(name).map_err(|error| error.to_string());
    let (bytes, x, y) = (read(&names[0])?, read(&names[1])?, read(&names[2])?);
    if unsafe { gvm_abi_version() } != ABI_VERSION {
        return Err("the library has another ABI".into());
    }
    let mut error = Error { status: 0, message: [0; 508] };
    let nothing = Part { bytes: ptr::null(), size: 0 };
    let mut file = File { struct_size: std::mem::size_of::<File>() as u64, parts: [nothing; 4] };
    let mut info: Info = unsafe { std::mem::zeroed() };
    info.struct_size = std::mem::size_of::<Info>() as u64;
    let mut model = Model(ptr::null_mut(), ptr::null_mut());
    let mut id = [0u8; 32];
    unsafe {
        check(gvm_file_parse(bytes.as_ptr(), bytes.len(), &mut file, &mut error), &error)?;
        let [program, parameters, _, _] = file.parts;
        let (at, size) = (parameters.bytes, parameters.size as usize);
        let (code, length) = (program.bytes, program.size as usize);
        let status = gvm_program_new(code, length, ptr::null(), &mut model.0, &mut error);
        check(status, &error)?;
        check(gvm_program_get_info(model.0, &mut info), &error)?;
        let status = gvm_program_parameters_id(model.0, at, size, id.as_mut_ptr(), &mut error);
        check(status, &error)?;
        check(gvm_session_new(model.0, ptr::null(), &mut model.1, &mut error), &error)?;
        check(gvm_session_write(model.1, PARAMETERS, at, size, &mut error), &error)?;
    }
    let (x_row, y_row) = (example_bytes(model.0, INPUTS)?, example_bytes(model.0, LABELS)?);
    let count = x.len() / x_row;
    if count == 0 || x.len() != count * x_row || y.len() != count * y_row {
        return Err("inputs and labels are not of equally many examples".into());
    }
    let mut loss = Loss { total: 0, count: 0, correct: 0 };
    let batch = info.max_batch.min(256) as usize;
    for done in (0..count).step_by(batch) {
        let given = [x[done * x_row..].as_ptr() as *const c_void];
        let wanted = [y[done * y_row..].as_ptr() as *const c_void];
        let n = batch.min(count - done) as u64;
        let status = unsafe {
            gvm_session_loss(model.1, given.as_ptr(), wanted.as_ptr(), n, &mut loss, &mut error)
        };
        check(status, &error)?;
    }
    println!("graph_id {}\nparameters_id {}", hex(&info.graph_id), hex(&id));
    println!("total {}\ncount {}\ncorrect {}", loss.total, loss.count, loss.correct);
    Ok(())
}

fn main() {
    let names: Vec<String> = env::args().skip(1).collect();
    if names.len() != 3 {
        eprintln!("usage: embed_rust model.dmodel inputs.raw labels.raw");
        process::exit(2);
    }
    if let Err(message) = run(&names) {
        eprintln!("{}: {message}", names[0]);
        process::exit(2);
    }
}
