// A program that is refused has asked for little memory: no more than the node's limit, whatever it
// claims to need. Every allocation of this process is counted. argv[1] is tests/vectors.
#include <cstddef>
#include <cstdlib>
#include <new>
#include <sstream>

#include "damage.h"
#include "hostile.h"

namespace {

// Bytes in use and the most there were; the tests have one thread.
std::size_t in_use = 0, peak = 0;

constexpr std::size_t kHeader = alignof(std::max_align_t);

void* take(std::size_t size) {
  void* const block = std::malloc(size + kHeader);
  if (block == nullptr) return nullptr;
  *static_cast<std::size_t*>(block) = size;
  in_use += size;
  if (in_use > peak) peak = in_use;
  return static_cast<char*>(block) + kHeader;
}

void give(void* p) {
  if (p == nullptr) return;
  void* const block = static_cast<char*>(p) - kHeader;
  in_use -= *static_cast<std::size_t*>(block);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
  void* const p = take(size);
  if (p == nullptr) std::abort();
  return p;
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return take(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return take(size); }
void operator delete(void* p) noexcept { give(p); }
void operator delete[](void* p) noexcept { give(p); }
void operator delete(void* p, std::size_t) noexcept { give(p); }
void operator delete[](void* p, std::size_t) noexcept { give(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { give(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { give(p); }

using namespace hostile;

namespace {

// What a node with little memory allows: 2 MiB of it for a function.
const gvm_limits kSmall = {sizeof(gvm_limits), 1 << 16, 256, 1 << 16, 1 << 21, 1 << 21};

std::size_t most = 0;
uint64_t refusals = 0;

// Loads; returns the status. The peak above what was in use before, of refused programs, is kept.
int load(const uint8_t* bytes, size_t size, const gvm_limits* limits) {
  gvm_program* program = nullptr;
  gvm_error error;
  const std::size_t before = in_use;
  peak = in_use;
  const int status = gvm_program_new(bytes, size, limits, &program, &error);
  const std::size_t asked = peak - before;
  gvm_program_free(program);
  const bool all_back = in_use == before;
  check(all_back, "memory that is not given back");
  if (status == GVM_OK) return status;
  ++refusals;
  if (asked > most) most = asked;
  check(asked <= kSmall.memory_bytes, "a refused program of " + std::to_string(size) +
                                          " bytes took " + std::to_string(asked) + ": " +
                                          error.message);
  return status;
}

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Every published refusal, with its own limits and with small ones.
void run_published(const std::string& folder) {
  std::ifstream file(folder + "/programs/refused.txt");
  std::string line;
  uint64_t lines = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string status, numbers, program;
    fields >> status >> numbers >> program;
    gvm_limits limits = {sizeof limits, 0, 0, 0, 0, 0};
    if (numbers != "-") {
      std::istringstream list(numbers);
      for (uint64_t* to : {&limits.program_bytes, &limits.nodes, &limits.parameter_bytes,
                           &limits.memory_bytes, &limits.multiply_adds}) {
        std::string number;
        std::getline(list, number, ',');
        *to = std::stoull(number);
      }
    }
    const Bytes bytes = program == "-" ? Bytes() : from_hex(program);
    check(load(bytes.data(), bytes.size(), &limits) == std::stoi(status), "another status");
    load(bytes.data(), bytes.size(), &kSmall);
    ++lines;
  }
  check(lines > 200, "the refused programs are not there");
}

// Damage that leaves programs canonical, and numbers of elements up to the largest.
void run_damaged(const std::string& folder) {
  for (const char* name : {"inference", "trained", "images", "choices"}) {
    std::ifstream stream(folder + "/programs/" + name + ".dmodel", std::ios::binary);
    const Bytes file((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    gvm_file parts;
    parts.struct_size = sizeof parts;
    check(gvm_file_parse(file.data(), file.size(), &parts, nullptr) == GVM_OK, name);
    gvm::CborReader reader(parts.program, static_cast<size_t>(parts.program_size));
    Item tree;
    check(read(reader, &tree), "a tree of the program");
    Random random(parts.program_size);
    for (int i = 0; i < 3000; ++i) {
      Item damaged = tree;
      damage(&damaged, &random);
      const Bytes bytes = encode(damaged);
      load(bytes.data(), bytes.size(), &kSmall);
    }
  }
}

// Counts that promise more than there is: lists of 2^32 items in a few bytes.
void run_promises() {
  for (const uint8_t head : {uint8_t{0x9b}, uint8_t{0xbb}, uint8_t{0x9a}, uint8_t{0x7b}}) {
    for (const uint8_t byte : {uint8_t{0x00}, uint8_t{0x7f}, uint8_t{0xff}}) {
      const Bytes bytes = {0xa7, 0x64, 'l', 'o', 's', 's', head, byte, 0, 0, 0, 1, 0, 0, 0};
      load(bytes.data(), bytes.size(), nullptr);
      load(bytes.data() + 6, bytes.size() - 6, nullptr);
    }
  }
  // More bytes than a node reads are not read.
  const Bytes zeros(1 << 20);
  const std::size_t before = most;
  most = 0;
  load(zeros.data(), zeros.size(), &kSmall);
  check(most < 4096, "a program above the limit of its size");
  most = most < before ? before : most;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  run_published(argv[1]);
  run_damaged(argv[1]);
  run_promises();
  std::printf("memory_test: %llu refusals, at most %llu bytes each, the limit is %llu\n",
              static_cast<unsigned long long>(refusals), static_cast<unsigned long long>(most),
              static_cast<unsigned long long>(kSmall.memory_bytes));
  return failures == 0 ? 0 : 1;
}
