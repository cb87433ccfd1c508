// Strict canonical CBOR without floats: integers in [-2^64, 2^64 - 1], byte strings, UTF-8 text,
// arrays, text-keyed maps, booleans and null. Every value has one encoding and no other is
// accepted: shortest heads, definite lengths, map keys ascending by encoded bytes. gvm/cbor.py is
// the Python twin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace gvm {

constexpr size_t kCborMaxDepth = 64;  // arrays and maps open at once

// Whether the bytes are well-formed UTF-8 (no overlong form, surrogate or value above U+10FFFF).
bool is_utf8(const uint8_t* bytes, size_t size);

enum class CborType { kUnsigned, kNegative, kBytes, kText, kArray, kMap, kBool, kNull, kNone };

// Pull reader over borrowed bytes, safe on any input; it never allocates. Every read returns false
// on the first violation, remembers its rule and the offset of the item at fault, and keeps failing
// after it. Strings are views into the input. A container closes by itself after its last item.
class CborReader {
 public:
  CborReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  // Type of the next item by its first byte; kNone at the end, after an error, or for a forbidden
  // type.
  CborType peek() const;

  bool read_unsigned(uint64_t* value);
  // Any integer in the range of int64_t.
  bool read_int(int64_t* value);
  // An integer below zero as n, its value being -1 - n.
  bool read_negative(uint64_t* n);
  bool read_bytes(const uint8_t** bytes, size_t* size);
  bool read_text(std::string_view* text);
  bool read_bool(bool* value);
  bool read_null();

  // Opens an array of *count items.
  bool read_array(size_t* count);
  // Opens an array that must have exactly count items.
  bool read_array_of(size_t count);
  // Opens a map of *count pairs; each is read as read_key() and then one item.
  bool read_map(size_t* count);
  bool read_map_of(size_t count);
  bool read_key(std::string_view* key);
  // Reads the next key, which must be this one.
  bool expect_key(std::string_view key);

  // Checks and passes over one whole item.
  bool skip();
  // True when the input was exactly one item, now read completely.
  bool finish();

  // Lets the caller report a violation of its own at the last item read; always returns false.
  bool fail(const char* rule) { return fail_at(item_, rule); }

  bool ok() const { return error_ == nullptr; }
  // The broken rule (a string literal), or null.
  const char* error() const { return error_; }
  size_t error_offset() const { return error_offset_; }
  size_t offset() const { return offset_; }

 private:
  struct Head {
    int major;
    uint64_t argument;
  };
  struct Frame {
    size_t remaining;  // items of an array, keys and values of a map
    bool is_map;
    bool has_key;
    std::string_view previous_key;
  };

  bool fail_at(size_t offset, const char* rule);
  bool read_head(Head* head);
  bool begin_value(int major, const char* rule, Head* head);
  bool read_string(size_t size, std::string_view* text);
  bool open(const Head& head, size_t* count);
  void end_item();

  const uint8_t* data_;
  size_t size_;
  size_t offset_ = 0;
  size_t item_ = 0;  // where the item being read starts
  const char* error_ = nullptr;
  size_t error_offset_ = 0;
  size_t depth_ = 0;
  bool started_ = false;
  Frame frames_[kCborMaxDepth];
};

// Writes what CborReader accepts. ok() turns false, for good, on a caller's mistake: keys out of
// order, a value where a key belongs, text that is not UTF-8, too deep a nesting, more or fewer
// items than announced.
class CborWriter {
 public:
  void write_unsigned(uint64_t value);
  void write_int(int64_t value);
  void write_negative(uint64_t n);  // the integer -1 - n
  void write_bytes(const void* bytes, size_t size);
  void write_text(std::string_view text);
  void write_bool(bool value);
  void write_null();
  void write_array(size_t count);
  void write_map(size_t count);
  void write_key(std::string_view key);

  bool ok() const { return ok_; }
  // True when ok() and exactly one item was written completely.
  bool complete() const { return ok_ && started_ && frames_.empty(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  struct Frame {
    uint64_t remaining;
    bool is_map;
    bool has_key;
    size_t key_at;  // the previous key's text in bytes_
    size_t key_size;
  };

  void begin_item();
  void end_item();
  void append_head(int major, uint64_t argument);
  void append(const void* bytes, size_t size);
  void open(int major, size_t count);

  std::vector<uint8_t> bytes_;
  std::vector<Frame> frames_;
  bool started_ = false;
  bool ok_ = true;
};

}  // namespace gvm
