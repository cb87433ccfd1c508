// Canonical CBOR against stored vectors, misuse and damaged bytes; argv[1] is tests/vectors.
#include "cbor.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

using gvm::CborReader;
using gvm::CborType;
using gvm::CborWriter;
using Bytes = std::vector<uint8_t>;

int failures = 0;

void check(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "cbor_test: %s\n", what.c_str());
}

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  if (text == "-") return bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Copies one item from reader to writer through the typed calls.
bool copy(CborReader& reader, CborWriter& writer) {
  uint64_t number;
  std::string_view text;
  const uint8_t* bytes;
  size_t size;
  bool truth;
  switch (reader.peek()) {
    case CborType::kUnsigned:
      if (!reader.read_unsigned(&number)) return false;
      writer.write_unsigned(number);
      return true;
    case CborType::kNegative:
      if (!reader.read_negative(&number)) return false;
      writer.write_negative(number);
      return true;
    case CborType::kBytes:
      if (!reader.read_bytes(&bytes, &size)) return false;
      writer.write_bytes(bytes, size);
      return true;
    case CborType::kText:
      if (!reader.read_text(&text)) return false;
      writer.write_text(text);
      return true;
    case CborType::kBool:
      if (!reader.read_bool(&truth)) return false;
      writer.write_bool(truth);
      return true;
    case CborType::kNull:
      if (!reader.read_null()) return false;
      writer.write_null();
      return true;
    case CborType::kArray:
      if (!reader.read_array(&size)) return false;
      writer.write_array(size);
      for (size_t i = 0; i < size; ++i) {
        if (!copy(reader, writer)) return false;
      }
      return true;
    case CborType::kMap:
      if (!reader.read_map(&size)) return false;
      writer.write_map(size);
      for (size_t i = 0; i < size; ++i) {
        if (!reader.read_key(&text)) return false;
        writer.write_key(text);
        if (!copy(reader, writer)) return false;
      }
      return true;
    case CborType::kNone:
      return reader.skip();  // names the rule that forbids what stands here
  }
  return false;
}

bool accepts(const Bytes& bytes) {
  CborReader reader(bytes.data(), bytes.size());
  return reader.skip() && reader.finish();
}

size_t run_accepted(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  size_t count = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    const std::string text = line.substr(0, line.find(' '));
    const Bytes bytes = from_hex(text);
    check(accepts(bytes), "refused " + text);
    CborReader reader(bytes.data(), bytes.size());
    CborWriter writer;
    check(copy(reader, writer) && reader.finish(), "cannot copy " + text);
    check(writer.complete() && writer.bytes() == bytes, "another encoding of " + text);

    // No proper prefix, and no extension, of a canonical item is one.
    Bytes part;
    for (uint8_t byte : bytes) {
      check(!accepts(part), "accepted a prefix of " + text);
      part.push_back(byte);
    }
    part.push_back(0);
    check(!accepts(part), "accepted an extension of " + text);

    // Whatever damaged bytes are still accepted are the encoding of what was read.
    for (size_t i = 0; i < bytes.size() && i < 300; ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        Bytes damaged = bytes;
        damaged[i] = static_cast<uint8_t>(damaged[i] ^ (1 << bit));
        CborReader damaged_reader(damaged.data(), damaged.size());
        CborWriter again;
        const bool accepted = copy(damaged_reader, again) && damaged_reader.finish();
        check(accepted == accepts(damaged), "copy and skip differ on damaged " + text);
        if (accepted) check(again.complete() && again.bytes() == damaged, "damaged " + text);
      }
    }
    ++count;
  }
  return count;
}

size_t run_refused(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  size_t count = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string text;
    std::string rule;
    size_t offset = 0;
    fields >> text >> offset;
    std::getline(fields >> std::ws, rule);
    const Bytes bytes = from_hex(text);
    CborReader reader(bytes.data(), bytes.size());
    CborReader copied(bytes.data(), bytes.size());
    CborWriter writer;
    check(!(reader.skip() && reader.finish()), "accepted " + text);
    check(!(copy(copied, writer) && copied.finish()), "copied " + text);
    for (const CborReader* r : {&reader, &copied}) {
      const std::string error = r->error() == nullptr ? "nothing" : r->error();
      check(error == rule && r->error_offset() == offset,
            text + ": expected byte " + std::to_string(offset) + " " + rule + ", received byte " +
                std::to_string(r->error_offset()) + " " + error);
    }
    check(!reader.skip() && !reader.ok(), "an error is not kept: " + text);
    ++count;
  }
  return count;
}

void run_typed() {
  const auto fails = [](const char* hex, auto read, const char* rule) {
    const Bytes bytes = from_hex(hex);
    CborReader reader(bytes.data(), bytes.size());
    check(!read(reader), std::string(hex) + " was read");
    check(reader.error() != nullptr && std::string(reader.error()) == rule,
          std::string(hex) + ": " + (reader.error() == nullptr ? "no error" : reader.error()));
  };
  uint64_t u;
  int64_t i;
  bool b;
  size_t n;
  const uint8_t* p;
  std::string_view s;
  fails("20", [&](CborReader& r) { return r.read_unsigned(&u); }, "expected an unsigned integer");
  fails("00", [&](CborReader& r) { return r.read_negative(&u); }, "expected a negative integer");
  fails("40", [&](CborReader& r) { return r.read_int(&i); }, "expected an integer");
  fails(
      "1b8000000000000000", [&](CborReader& r) { return r.read_int(&i); },
      "integer is outside 64 signed bits");
  fails(
      "3b8000000000000000", [&](CborReader& r) { return r.read_int(&i); },
      "integer is outside 64 signed bits");
  fails("60", [&](CborReader& r) { return r.read_bytes(&p, &n); }, "expected a byte string");
  fails("40", [&](CborReader& r) { return r.read_text(&s); }, "expected text");
  fails("f6", [&](CborReader& r) { return r.read_bool(&b); }, "expected a boolean");
  fails("00", [&](CborReader& r) { return r.read_bool(&b); }, "expected a boolean");
  fails("f4", [&](CborReader& r) { return r.read_null(); }, "expected null");
  fails("a0", [&](CborReader& r) { return r.read_array(&n); }, "expected an array");
  fails("80", [&](CborReader& r) { return r.read_map(&n); }, "expected a map");
  fails(
      "8101", [&](CborReader& r) { return r.read_array_of(2); },
      "array has the wrong number of items");
  fails("a0", [&](CborReader& r) { return r.read_map_of(1); }, "map has the wrong number of keys");
  fails(
      "a1616100", [&](CborReader& r) { return r.read_map_of(1) && r.expect_key("b"); },
      "unexpected map key");
  fails(
      "a1616100", [&](CborReader& r) { return r.read_map_of(1) && r.read_text(&s); },
      "a map key is due");
  fails("00", [&](CborReader& r) { return r.read_key(&s); }, "no map key is due");
  fails(
      "820000", [&](CborReader& r) { return r.read_array_of(2) && r.skip() && r.finish(); },
      "the item is not read completely");
  fails("00", [&](CborReader& r) { return r.skip() && r.skip(); }, "trailing bytes");
  fails(
      "00", [&](CborReader& r) { return r.read_int(&i) && r.fail("a rule of the caller"); },
      "a rule of the caller");

  CborReader nothing(nullptr, 0);
  check(nothing.peek() == CborType::kNone && !nothing.skip(), "null input");

  for (int64_t value :
       {INT64_MIN, INT64_MIN + 1, int64_t{-25}, int64_t{-1}, int64_t{0}, INT64_MAX}) {
    CborWriter writer;
    writer.write_int(value);
    CborReader reader(writer.bytes().data(), writer.bytes().size());
    check(reader.read_int(&i) && i == value && reader.finish(), std::to_string(value));
  }
}

void run_writer() {
  const auto refused = [](auto write, const char* what) {
    CborWriter writer;
    write(writer);
    check(!writer.complete(), std::string("the writer lets pass: ") + what);
  };
  refused([](CborWriter&) {}, "nothing written");
  refused(
      [](CborWriter& w) {
        w.write_null();
        w.write_null();
      },
      "two items");
  refused(
      [](CborWriter& w) {
        w.write_array(2);
        w.write_null();
      },
      "a missing item");
  refused(
      [](CborWriter& w) {
        w.write_map(1);
        w.write_text("a");
        w.write_null();
      },
      "no key");
  refused([](CborWriter& w) { w.write_key("a"); }, "a key outside of a map");
  refused([](CborWriter& w) { w.write_text("\xff"); }, "text that is not UTF-8");
  const auto two_keys = [](const char* first, const char* second) {
    return [=](CborWriter& w) {
      w.write_map(2);
      w.write_key(first);
      w.write_null();
      w.write_key(second);
      w.write_null();
    };
  };
  refused(two_keys("a", "a"), "a duplicate key");
  refused(two_keys("b", "a"), "keys out of order");
  refused(two_keys("aa", "b"), "a longer key first");
  refused(two_keys("a", ""), "an empty key last");
  CborWriter writer;
  two_keys("b", "aa")(writer);
  check(writer.complete() && writer.bytes() == from_hex("a26162f6626161f6"), "map in order");
  refused(
      [](CborWriter& w) {
        for (size_t i = 0; i <= gvm::kCborMaxDepth; ++i) w.write_array(1);
        w.write_null();
      },
      "too deep a nesting");
  CborWriter deep;
  for (size_t i = 0; i < gvm::kCborMaxDepth; ++i) deep.write_array(1);
  deep.write_null();
  check(deep.complete() && accepts(deep.bytes()), "the deepest nesting");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: cbor_test VECTORS\n");
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/cbor/";
  const size_t accepted = run_accepted(folder + "accept.txt");
  const size_t refused = run_refused(folder + "refuse.txt");
  check(accepted >= 60, "too few vectors in cbor/accept.txt");
  check(refused >= 120, "too few vectors in cbor/refuse.txt");
  run_typed();
  run_writer();
  std::printf("cbor_test: %zu accepted, %zu refused, %d failures\n", accepted, refused, failures);
  return failures == 0 ? 0 : 1;
}
