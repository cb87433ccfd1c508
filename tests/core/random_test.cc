// random.h against Random123's known answers and our own draws; argv[1] is tests/vectors.
#include "random.h"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace gvm {
namespace {

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "random_test: %s\n", what.c_str());
}

// Calls `judge` with each line that is not a comment; it says whether the line holds.
void for_each_line(const std::string& path, const std::function<bool(std::istringstream&)>& judge) {
  std::ifstream file(path);
  std::string line;
  int number = 0, judged = 0;
  while (std::getline(file, line)) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    check(judge(fields), path + ":" + std::to_string(number) + ": " + line);
    ++judged;
  }
  check(judged > 40, path + ": only " + std::to_string(judged) + " vectors read");
}

bool known_answer(std::istringstream& fields) {
  PhiloxBlock counter = {}, expected = {};
  PhiloxKey key = {};
  fields >> std::hex;
  for (uint32_t& word : counter.word) fields >> word;
  for (uint32_t& word : key.word) fields >> word;
  for (uint32_t& word : expected.word) fields >> word;
  if (!fields) return false;
  const PhiloxBlock block = philox4x32_10(counter, key);
  bool equal = true;
  for (int i = 0; i < 4; ++i) equal = equal && block.word[i] == expected.word[i];
  return equal;
}

bool draw_line(std::istringstream& fields) {
  uint64_t seed = 0, step = 0, index = 0;
  uint32_t site = 0, word = 0, purpose = 0, half = 0;
  if (!(fields >> seed >> site >> step >> purpose >> index >> word >> half)) return false;
  const Purpose of = static_cast<Purpose>(purpose);
  return random_word32(seed, site, step, of, index) == word &&
         random_half(seed, site, step, of, index) == half;
}

// A run of elements draws what each of its elements draws, from any start and of any length.
void check_runs() {
  constexpr uint64_t last = kIndexLimit - 40;
  for (const uint64_t base : {uint64_t{0}, (uint64_t{1} << 34) - 20, last}) {
    for (uint64_t start = 0; start < 9; ++start) {
      for (uint64_t count = 0; count < 20; ++count) {
        const uint64_t first = base + start;
        std::vector<uint32_t> words(count + 1, 0xabcdefu);
        std::vector<uint16_t> halves(count + 1, 0x1234u);
        fill_words(9, 8, 7, Purpose::dropout, first, count, words.data());
        fill_halves(9, 8, 7, Purpose::dropout, first, count, halves.data());
        const std::string what =
            "run of " + std::to_string(count) + " from " + std::to_string(first);
        for (uint64_t i = 0; i < count; ++i) {
          check(words[i] == random_word32(9, 8, 7, Purpose::dropout, first + i), what + ": words");
          check(halves[i] == random_half(9, 8, 7, Purpose::dropout, first + i), what + ": halves");
        }
        check(words[count] == 0xabcdefu && halves[count] == 0x1234u, what + ": past the end");
      }
    }
  }
}

// A rounding draws as many bits as it needs, for its own purpose, and to nearest none.
void check_rounding_draws() {
  for (const Rounding rounding :
       {Rounding::forward, Rounding::backward, Rounding::update, Rounding::optimizer_state}) {
    const Purpose purpose = static_cast<Purpose>(static_cast<uint8_t>(rounding));
    for (uint64_t i = 0; i < 20; ++i) {
      const uint32_t word = random_word32(1, 2, 3, purpose, i);
      const uint32_t half = random_half(1, 2, 3, purpose, i);
      check(random_for_quotient(1, 2, 3, rounding, i) == word, "draw of a quotient");
      for (const int s : {-1, 0}) {
        check(random_for_convert(1, 2, 3, rounding, s, i) == 0, "exact convert draws nothing");
      }
      for (const int s : {1, 16}) {
        check(random_for_convert(1, 2, 3, rounding, s, i) == half, "convert draws 16 bits");
      }
      for (const int s : {17, 32, 33, 90}) {
        check(random_for_convert(1, 2, 3, rounding, s, i) == word, "convert draws 32 bits");
      }
    }
  }
  check(random_for_convert(1, 2, 3, Rounding::nearest, 5, 0) == 0 &&
            random_for_quotient(1, 2, 3, Rounding::nearest, 0) == 0,
        "nearest draws nothing");
}

static_assert(draws_in_range(kSiteLimit - 1, kStepLimit - 1, kIndexLimit), "the last draw");
static_assert(!draws_in_range(kSiteLimit, 0, 1) && !draws_in_range(0, kStepLimit, 1) &&
                  !draws_in_range(0, 0, kIndexLimit + 1),
              "beyond the counter");
static_assert(philox4x32_10({{0, 0, 0, 0}}, {{0, 0}}).word[0] == 0x6627e8d5u, "constant");

}  // namespace
}  // namespace gvm

int main(int argc, char** argv) {
  using namespace gvm;
  if (argc != 2) {
    std::fprintf(stderr, "usage: random_test <tests/vectors>\n");
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/random/";
  for_each_line(folder + "philox4x32_10.txt", known_answer);
  for_each_line(folder + "draws.txt", draw_line);
  check_runs();
  check_rounding_draws();
  if (failures != 0) std::fprintf(stderr, "random_test: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
