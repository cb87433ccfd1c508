// Damaged programs and files through gvm.h. Made for the sanitizers; argv[1] is tests/vectors,
// argv[2] (optional) how many random programs to make of each file.
#include "hostile.h"

#include <cstdlib>
#include <utility>

#include "damage.h"

using namespace hostile;

namespace {

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void test_program(const Bytes& program, uint64_t rounds) {
  put_through(program, 1);
  check(loaded != 0, "the file itself must load");
  for (size_t size = 0; size < program.size(); ++size) {
    put_through(Bytes(program.begin(), program.begin() + static_cast<long>(size)), size);
  }
  for (size_t at = 0; at < program.size(); ++at) {
    for (int change : {0x01, 0x02, 0x04, 0x10, 0x80, 0xff}) {
      Bytes damaged = program;
      damaged[at] = static_cast<uint8_t>(damaged[at] ^ change);
      put_through(damaged, at);
    }
  }
  Random random(program.size());
  for (uint64_t i = 0; i < rounds; ++i) {
    Bytes damaged = program;
    const uint64_t n = 1 + random.below(24), from = random.below(program.size() - n),
                   to = random.below(program.size() - n);
    std::copy(program.begin() + static_cast<long>(from),
              program.begin() + static_cast<long>(from + n),
              damaged.begin() + static_cast<long>(to));
    put_through(damaged, i);
  }
  gvm::CborReader reader(program.data(), program.size());
  Item tree;
  check(read(reader, &tree) && reader.finish() && encode(tree) == program, "a tree of the program");
  for (uint64_t i = 0; i < rounds; ++i) {
    Item damaged = tree;
    damage(&damaged, &random);
    put_through(encode(damaged), i);
  }
}

// Containers: truncated, and with every byte changed, none is a file.
void test_file(const Bytes& file) {
  gvm_file parts;
  parts.struct_size = sizeof parts;
  gvm_error error;
  for (size_t size = 0; size < file.size(); ++size) {
    const Bytes cut(file.begin(), file.begin() + static_cast<long>(size));
    check(gvm_file_parse(cut.data(), cut.size(), &parts, &error) == GVM_BAD_FILE, "truncated");
  }
  for (size_t at = 0; at < file.size(); ++at) {
    for (int change : {0x01, 0x80, 0xff}) {
      Bytes damaged = file;
      damaged[at] = static_cast<uint8_t>(damaged[at] ^ change);
      check(gvm_file_parse(damaged.data(), damaged.size(), &parts, &error) == GVM_BAD_FILE,
            "damaged");
      if (at + GVM_ID_BYTES >= file.size()) continue;
      // With a checksum that holds, so that what is behind it is reached.
      gvm_blake3(damaged.data(), damaged.size() - GVM_ID_BYTES,
                 damaged.data() + damaged.size() - GVM_ID_BYTES);
      if (gvm_file_parse(damaged.data(), damaged.size(), &parts, &error) != GVM_OK) continue;
      for (const auto& [data, size] :
           {std::pair{parts.program, parts.program_size},
            std::pair{parts.parameters, parts.parameters_size},
            std::pair{parts.state, parts.state_size}, std::pair{parts.info, parts.info_size}}) {
        check(size == 0 || (data >= damaged.data() &&
                            data + size <= damaged.data() + damaged.size() - GVM_ID_BYTES),
              "a part lies outside of its file");
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const uint64_t rounds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1500;
  for (const char* name : {"inference", "trained", "images", "choices"}) {
    const Bytes file = read_file(std::string(argv[1]) + "/programs/" + name + ".dmodel");
    gvm_file parts;
    parts.struct_size = sizeof parts;
    gvm_error error;
    if (gvm_file_parse(file.data(), file.size(), &parts, &error) != GVM_OK) {
      check(false, std::string(name) + ": " + error.message);
      continue;
    }
    test_file(file);
    test_program(Bytes(parts.program, parts.program + parts.program_size), rounds);
  }
  std::printf("hostile_test: %llu refused, %llu loaded, %llu batches executed\n",
              static_cast<unsigned long long>(refused), static_cast<unsigned long long>(loaded),
              static_cast<unsigned long long>(executed));
  check(loaded > rounds / 8,
        "hardly any damaged program loads: the damage is too coarse to test much");
  return failures == 0 ? 0 : 1;
}
