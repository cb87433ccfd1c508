// Programs that are nearly right: valid ones are mutated as trees, so that most decode and many
// load, and what loads is executed on every CPU level, which must agree.
#include <cstdlib>

#include "damage.h"

using namespace hostile;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  gvm::CborReader reader(data, size);
  Item tree;
  // One in sixteen as bytes: what is not canonical must not get further either.
  if (seed % 16 == 0 || !read(reader, &tree) || !reader.finish()) {
    return LLVMFuzzerMutate(data, size, most);
  }
  Random random(seed);
  damage(&tree, &random);
  const Bytes bytes = encode(tree);
  if (bytes.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint64_t seed = size;
  for (size_t i = 0; i < size; ++i) seed = seed * 31 + data[i];
  put_through(Bytes(data, data + size), seed);
  if (failures != 0) std::abort();
  return 0;
}
