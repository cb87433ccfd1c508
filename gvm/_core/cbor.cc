#include "cbor.h"

#include <cstring>

namespace gvm {
namespace {

constexpr int kMajorUnsigned = 0;
constexpr int kMajorNegative = 1;
constexpr int kMajorBytes = 2;
constexpr int kMajorText = 3;
constexpr int kMajorArray = 4;
constexpr int kMajorMap = 5;
constexpr int kMajorTag = 6;
constexpr int kMajorSimple = 7;

constexpr uint64_t kFalse = 20;
constexpr uint64_t kTrue = 21;
constexpr uint64_t kNull = 22;

// Order of two text keys by their encoded bytes: the head sorts by length, then the text decides.
int compare_keys(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.empty() ? 0 : std::memcmp(a.data(), b.data(), a.size());
}

}  // namespace

bool is_utf8(const uint8_t* bytes, size_t size) {
  size_t i = 0;
  while (i < size) {
    const uint8_t lead = bytes[i];
    if (lead < 0x80) {
      ++i;
      continue;
    }
    size_t more;
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    if (more >= size - i) return false;
    if (bytes[i + 1] < low || bytes[i + 1] > high) return false;
    for (size_t k = 2; k <= more; ++k) {
      if ((bytes[i + k] & 0xC0) != 0x80) return false;
    }
    i += more + 1;
  }
  return true;
}

bool CborReader::fail_at(size_t offset, const char* rule) {
  if (error_ == nullptr) {
    error_ = rule;
    error_offset_ = offset;
  }
  return false;
}

CborType CborReader::peek() const {
  if (error_ != nullptr || offset_ == size_) return CborType::kNone;
  const uint8_t first = data_[offset_];
  switch (first >> 5) {
    case kMajorUnsigned:
      return CborType::kUnsigned;
    case kMajorNegative:
      return CborType::kNegative;
    case kMajorBytes:
      return CborType::kBytes;
    case kMajorText:
      return CborType::kText;
    case kMajorArray:
      return CborType::kArray;
    case kMajorMap:
      return CborType::kMap;
    case kMajorSimple:
      if ((first & 31) == kFalse || (first & 31) == kTrue) return CborType::kBool;
      if ((first & 31) == kNull) return CborType::kNull;
      return CborType::kNone;
    default:
      return CborType::kNone;
  }
}

// Reads the initial byte and argument, advancing past them; lengths are held against what is left.
bool CborReader::read_head(Head* head) {
  if (error_ != nullptr) return false;
  item_ = offset_;
  if (offset_ == size_) return fail_at(item_, "unexpected end of input");
  const uint8_t first = data_[offset_];
  const int major = first >> 5;
  const unsigned info = first & 31;
  if (major == kMajorTag) return fail_at(item_, "tags are not allowed");
  if (major == kMajorSimple) {
    if (info < kFalse || info > kNull) {
      return fail_at(item_, "floats and simple values are not allowed");
    }
    ++offset_;
    *head = {major, info};
    return true;
  }
  uint64_t argument = info;
  size_t extra = 0;
  if (info >= 24) {
    if (info == 31 && major >= kMajorBytes) {
      return fail_at(item_, "indefinite lengths are not allowed");
    }
    if (info > 27) return fail_at(item_, "reserved additional information");
    extra = size_t{1} << (info - 24);
    if (size_ - offset_ - 1 < extra) return fail_at(item_, "unexpected end of input");
    argument = 0;
    for (size_t i = 0; i < extra; ++i) argument = argument << 8 | data_[offset_ + 1 + i];
    const uint64_t least = extra == 1 ? 24 : uint64_t{1} << (4 * extra);
    if (argument < least) return fail_at(item_, "integer is not in its shortest form");
  }
  // The smallest item is one byte, the smallest map entry two.
  const size_t left = size_ - offset_ - 1 - extra;
  if (((major == kMajorBytes || major == kMajorText || major == kMajorArray) && argument > left) ||
      (major == kMajorMap && argument > left / 2)) {
    return fail_at(item_, "length exceeds the input");
  }
  offset_ += 1 + extra;
  *head = {major, argument};
  return true;
}

// Reads the head of a value of one major type (any, when negative) where a value may stand.
bool CborReader::begin_value(int major, const char* rule, Head* head) {
  if (error_ != nullptr) return false;
  if (depth_ == 0 && started_) return fail_at(offset_, "trailing bytes");
  if (depth_ > 0) {
    const Frame& frame = frames_[depth_ - 1];
    if (frame.is_map && !frame.has_key) return fail_at(offset_, "a map key is due");
  }
  if (!read_head(head)) return false;
  if (major >= 0 && head->major != major) return fail_at(item_, rule);
  started_ = true;
  return true;
}

// Closes the item just read and every container it was the last item of.
void CborReader::end_item() {
  while (depth_ > 0) {
    Frame& frame = frames_[depth_ - 1];
    frame.has_key = false;
    if (--frame.remaining > 0) return;
    --depth_;
  }
}

bool CborReader::read_string(size_t size, std::string_view* text) {
  if (!is_utf8(data_ + offset_, size)) return fail_at(item_, "text is not valid UTF-8");
  *text = std::string_view(reinterpret_cast<const char*>(data_ + offset_), size);
  offset_ += size;
  return true;
}

bool CborReader::read_unsigned(uint64_t* value) {
  Head head;
  if (!begin_value(kMajorUnsigned, "expected an unsigned integer", &head)) return false;
  *value = head.argument;
  end_item();
  return true;
}

bool CborReader::read_int(int64_t* value) {
  Head head;
  if (!begin_value(-1, "", &head)) return false;
  if (head.major != kMajorUnsigned && head.major != kMajorNegative) {
    return fail_at(item_, "expected an integer");
  }
  if (head.argument > static_cast<uint64_t>(INT64_MAX)) {
    return fail_at(item_, "integer is outside 64 signed bits");
  }
  const int64_t n = static_cast<int64_t>(head.argument);
  *value = head.major == kMajorUnsigned ? n : -1 - n;
  end_item();
  return true;
}

bool CborReader::read_negative(uint64_t* n) {
  Head head;
  if (!begin_value(kMajorNegative, "expected a negative integer", &head)) return false;
  *n = head.argument;
  end_item();
  return true;
}

bool CborReader::read_bytes(const uint8_t** bytes, size_t* size) {
  Head head;
  if (!begin_value(kMajorBytes, "expected a byte string", &head)) return false;
  *bytes = data_ + offset_;
  *size = static_cast<size_t>(head.argument);
  offset_ += *size;
  end_item();
  return true;
}

bool CborReader::read_text(std::string_view* text) {
  Head head;
  if (!begin_value(kMajorText, "expected text", &head)) return false;
  if (!read_string(static_cast<size_t>(head.argument), text)) return false;
  end_item();
  return true;
}

bool CborReader::read_bool(bool* value) {
  Head head;
  if (!begin_value(-1, "", &head)) return false;
  if (head.major != kMajorSimple || head.argument == kNull) {
    return fail_at(item_, "expected a boolean");
  }
  *value = head.argument == kTrue;
  end_item();
  return true;
}

bool CborReader::read_null() {
  Head head;
  if (!begin_value(-1, "", &head)) return false;
  if (head.major != kMajorSimple || head.argument != kNull) {
    return fail_at(item_, "expected null");
  }
  end_item();
  return true;
}

bool CborReader::open(const Head& head, size_t* count) {
  if (depth_ == kCborMaxDepth) return fail_at(item_, "nesting is deeper than 64");
  *count = static_cast<size_t>(head.argument);
  if (*count == 0) {
    end_item();
    return true;
  }
  const bool is_map = head.major == kMajorMap;
  // A map's entries take two bytes each, so twice the count cannot overflow.
  frames_[depth_++] = Frame{is_map ? 2 * *count : *count, is_map, false, std::string_view()};
  return true;
}

bool CborReader::read_array(size_t* count) {
  Head head;
  return begin_value(kMajorArray, "expected an array", &head) && open(head, count);
}

bool CborReader::read_array_of(size_t count) {
  size_t actual = 0;
  if (!read_array(&actual)) return false;
  return actual == count || fail("array has the wrong number of items");
}

bool CborReader::read_map(size_t* count) {
  Head head;
  return begin_value(kMajorMap, "expected a map", &head) && open(head, count);
}

bool CborReader::read_map_of(size_t count) {
  size_t actual = 0;
  if (!read_map(&actual)) return false;
  return actual == count || fail("map has the wrong number of keys");
}

bool CborReader::read_key(std::string_view* key) {
  if (error_ != nullptr) return false;
  if (depth_ == 0 || !frames_[depth_ - 1].is_map || frames_[depth_ - 1].has_key) {
    return fail_at(offset_, "no map key is due");
  }
  if (offset_ < size_ && data_[offset_] >> 5 != kMajorText) {
    return fail_at(offset_, "map key is not text");
  }
  Head head;
  if (!read_head(&head)) return false;
  if (!read_string(static_cast<size_t>(head.argument), key)) return false;
  Frame& frame = frames_[depth_ - 1];
  if (frame.previous_key.data() != nullptr) {
    const int order = compare_keys(frame.previous_key, *key);
    if (order == 0) return fail_at(item_, "duplicate map key");
    if (order > 0) return fail_at(item_, "map keys are not in order");
  }
  frame.previous_key = *key;
  frame.has_key = true;
  --frame.remaining;
  return true;
}

bool CborReader::expect_key(std::string_view key) {
  std::string_view actual;
  if (!read_key(&actual)) return false;
  return actual == key || fail("unexpected map key");
}

bool CborReader::skip() {
  const size_t base = depth_;
  do {
    std::string_view text;
    const uint8_t* bytes;
    size_t size;
    Head head;
    if (depth_ > base && frames_[depth_ - 1].is_map && !frames_[depth_ - 1].has_key) {
      if (!read_key(&text)) return false;
      continue;
    }
    switch (peek()) {
      case CborType::kBytes:
        if (!read_bytes(&bytes, &size)) return false;
        break;
      case CborType::kText:
        if (!read_text(&text)) return false;
        break;
      case CborType::kArray:
        if (!read_array(&size)) return false;
        break;
      case CborType::kMap:
        if (!read_map(&size)) return false;
        break;
      default:
        if (!begin_value(-1, "", &head)) return false;
        end_item();
        break;
    }
  } while (depth_ > base);
  return true;
}

bool CborReader::finish() {
  if (error_ != nullptr) return false;
  if (depth_ > 0 || !started_) return fail_at(offset_, "the item is not read completely");
  return offset_ == size_ || fail_at(offset_, "trailing bytes");
}

void CborWriter::append(const void* bytes, size_t size) {
  const uint8_t* p = static_cast<const uint8_t*>(bytes);
  if (size > 0) bytes_.insert(bytes_.end(), p, p + size);
}

void CborWriter::append_head(int major, uint64_t argument) {
  const unsigned type = static_cast<unsigned>(major) << 5;
  if (argument < 24) {
    bytes_.push_back(static_cast<uint8_t>(type | argument));
    return;
  }
  unsigned log = 0;  // the argument takes 2^log bytes
  while (log < 3 && argument >> (8u << log) != 0) ++log;
  bytes_.push_back(static_cast<uint8_t>(type | (24 + log)));
  for (int shift = (8 << log) - 8; shift >= 0; shift -= 8) {
    bytes_.push_back(static_cast<uint8_t>(argument >> shift));
  }
}

void CborWriter::begin_item() {
  if (frames_.empty() ? started_ : frames_.back().is_map && !frames_.back().has_key) ok_ = false;
  started_ = true;
}

void CborWriter::end_item() {
  while (!frames_.empty()) {
    Frame& frame = frames_.back();
    frame.has_key = false;
    if (--frame.remaining > 0) return;
    frames_.pop_back();
  }
}

void CborWriter::write_unsigned(uint64_t value) {
  begin_item();
  append_head(kMajorUnsigned, value);
  end_item();
}

void CborWriter::write_int(int64_t value) {
  if (value < 0) {
    write_negative(static_cast<uint64_t>(-(value + 1)));
  } else {
    write_unsigned(static_cast<uint64_t>(value));
  }
}

void CborWriter::write_negative(uint64_t n) {
  begin_item();
  append_head(kMajorNegative, n);
  end_item();
}

void CborWriter::write_bytes(const void* bytes, size_t size) {
  begin_item();
  append_head(kMajorBytes, size);
  append(bytes, size);
  end_item();
}

void CborWriter::write_text(std::string_view text) {
  begin_item();
  if (!is_utf8(reinterpret_cast<const uint8_t*>(text.data()), text.size())) ok_ = false;
  append_head(kMajorText, text.size());
  append(text.data(), text.size());
  end_item();
}

void CborWriter::write_bool(bool value) {
  begin_item();
  append_head(kMajorSimple, value ? kTrue : kFalse);
  end_item();
}

void CborWriter::write_null() {
  begin_item();
  append_head(kMajorSimple, kNull);
  end_item();
}

void CborWriter::open(int major, size_t count) {
  begin_item();
  append_head(major, count);
  if (frames_.size() >= kCborMaxDepth) ok_ = false;
  if (count == 0) {
    end_item();
    return;
  }
  const bool is_map = major == kMajorMap;
  const uint64_t items = count;
  frames_.push_back(Frame{is_map ? 2 * items : items, is_map, false, SIZE_MAX, 0});
}

void CborWriter::write_array(size_t count) { open(kMajorArray, count); }

void CborWriter::write_map(size_t count) { open(kMajorMap, count); }

void CborWriter::write_key(std::string_view key) {
  if (frames_.empty() || !frames_.back().is_map || frames_.back().has_key) {
    ok_ = false;
    return;
  }
  Frame& frame = frames_.back();
  if (!is_utf8(reinterpret_cast<const uint8_t*>(key.data()), key.size())) ok_ = false;
  if (frame.key_at != SIZE_MAX) {
    const char* text = reinterpret_cast<const char*>(bytes_.data());
    if (compare_keys(std::string_view(text + frame.key_at, frame.key_size), key) >= 0) ok_ = false;
  }
  append_head(kMajorText, key.size());
  frame.key_at = bytes_.size();
  frame.key_size = key.size();
  append(key.data(), key.size());
  frame.has_key = true;
  --frame.remaining;
}

}  // namespace gvm
