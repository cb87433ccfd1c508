// BLAKE3 against stored vectors; argv[1] is tests/vectors.
#include "hash.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "hash_test: %s\n", what.c_str());
}

std::vector<uint8_t> painted(size_t size) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i % 251);
  return bytes;
}

std::string hex(const std::vector<uint8_t>& bytes) {
  std::vector<char> text(2 * bytes.size() + 1);
  gvm::to_hex(bytes.data(), bytes.size(), text.data());
  return text.data();
}

void check_vector(size_t length, const std::string& expected) {
  const std::string name = "length " + std::to_string(length);
  const std::vector<uint8_t> input = painted(length);

  const gvm::Hash hash = gvm::blake3(input.data(), input.size());
  check(hex({hash.begin(), hash.end()}) == expected.substr(0, 64), name + ": hash");

  std::vector<uint8_t> out(expected.size() / 2);
  for (size_t step : {size_t{1}, size_t{63}, size_t{64}, size_t{1000}, size_t{1024}, size_t{8193},
                      size_t{9000}}) {
    gvm::Blake3 hasher;
    for (size_t at = 0; at < length; at += step) {
      hasher.update(input.data() + at, std::min(step, length - at));
    }
    hasher.finalize(out.data(), out.size());
    check(hex(out) == expected, name + ": in steps of " + std::to_string(step));
  }

  // finalize() leaves the state as it was, and init() forgets it.
  gvm::Blake3 hasher;
  hasher.update(input.data(), length / 2);
  (void)hasher.finalize();
  hasher.update(input.data() + length / 2, length - length / 2);
  check(hasher.finalize() == hash, name + ": finalize in the middle");
  hasher.init();
  hasher.update(nullptr, 0);
  check(hasher.finalize() == gvm::blake3(nullptr, 0), name + ": init");
}

size_t run_text(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  size_t count = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    size_t length = 0;
    std::string expected;
    check(static_cast<bool>(fields >> length >> expected), "malformed line: " + line);
    check_vector(length, expected);
    ++count;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: hash_test VECTORS\n");
    return 2;
  }
  const size_t count = run_text(std::string(argv[1]) + "/blake3/painted.txt");
  check(count >= 40, "too few vectors in blake3/painted.txt");
  std::printf("hash_test: %zu vectors, %d failures\n", count, failures);
  return failures == 0 ? 0 : 1;
}
