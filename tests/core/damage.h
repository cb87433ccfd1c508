// Damage to a program that leaves it canonical: numbers and lists of its tree are changed.
#pragma once

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "cbor.h"
#include "hostile.h"

namespace hostile {

// A program as a tree, so that a change leaves canonical bytes.
struct Item {
  gvm::CborType type = gvm::CborType::kNull;
  int64_t number = 0;
  std::string key;
  std::vector<Item> items;
};

inline bool read(gvm::CborReader& reader, Item* item) {
  item->type = reader.peek();
  size_t count = 0;
  switch (item->type) {
    case gvm::CborType::kUnsigned:
    case gvm::CborType::kNegative:
      return reader.read_int(&item->number);
    case gvm::CborType::kNull:
      return reader.read_null();
    case gvm::CborType::kArray:
      if (!reader.read_array(&count)) return false;
      break;
    case gvm::CborType::kMap:
      if (!reader.read_map(&count)) return false;
      break;
    default:
      return false;
  }
  item->items.resize(count);
  for (Item& child : item->items) {
    std::string_view key;
    if (item->type == gvm::CborType::kMap) {
      if (!reader.read_key(&key)) return false;
      child.key = std::string(key);
    }
    if (!read(reader, &child)) return false;
  }
  return true;
}

inline void write(const Item& item, gvm::CborWriter* writer) {
  switch (item.type) {
    case gvm::CborType::kUnsigned:
    case gvm::CborType::kNegative:
      writer->write_int(item.number);
      return;
    case gvm::CborType::kArray:
      writer->write_array(item.items.size());
      break;
    case gvm::CborType::kMap:
      writer->write_map(item.items.size());
      break;
    default:
      writer->write_null();
      return;
  }
  for (const Item& child : item.items) {
    if (item.type == gvm::CborType::kMap) writer->write_key(child.key);
    write(child, writer);
  }
}

inline Bytes encode(const Item& item) {
  gvm::CborWriter writer;
  write(item, &writer);
  check(writer.complete(), "a tree that cannot be written");
  return writer.take();
}

inline void collect(Item* item, std::vector<Item*>* numbers, std::vector<Item*>* lists) {
  if (item->type == gvm::CborType::kUnsigned || item->type == gvm::CborType::kNegative) {
    numbers->push_back(item);
  }
  if (item->type == gvm::CborType::kArray) lists->push_back(item);
  for (Item& child : item->items) collect(&child, numbers, lists);
}

const int64_t kNumbers[] = {-33,
                            -32,
                            -2,
                            -1,
                            0,
                            1,
                            2,
                            3,
                            4,
                            5,
                            6,
                            7,
                            8,
                            9,
                            12,
                            15,
                            16,
                            17,
                            31,
                            32,
                            33,
                            38,
                            46,
                            47,
                            48,
                            63,
                            64,
                            65,
                            127,
                            128,
                            255,
                            4096,
                            4097,
                            16384,
                            32767,
                            65535,
                            65536,
                            1 << 20,
                            1 << 22,
                            INT32_MAX,
                            int64_t{1} << 31,
                            int64_t{1} << 42,
                            int64_t{1} << 62,
                            INT64_MAX,
                            INT64_MIN};

inline void set(Item* item, int64_t number) {
  item->number = number;
  item->type = number < 0 ? gvm::CborType::kNegative : gvm::CborType::kUnsigned;
}

// One to three changes of numbers or lists.
inline void damage(Item* program, Random* random) {
  for (uint64_t changes = 1 + random->below(3); changes > 0; --changes) {
    std::vector<Item*> numbers, lists;
    collect(program, &numbers, &lists);
    if (numbers.empty() || lists.empty()) return;
    Item* const number = numbers[random->below(numbers.size())];
    Item* const list = lists[random->below(lists.size())];
    switch (random->below(6)) {
      case 0:
      case 1:
        set(number,
            static_cast<int64_t>(static_cast<uint64_t>(number->number) + random->below(5) - 2));
        break;
      case 2:
        set(number, kNumbers[random->below(std::size(kNumbers))]);
        break;
      case 3:
        set(number, numbers[random->below(numbers.size())]->number);
        break;
      case 4:
        if (!list->items.empty()) {
          const Item copy = list->items[random->below(list->items.size())];
          list->items.insert(
              list->items.begin() + static_cast<long>(random->below(list->items.size() + 1)), copy);
        }
        break;
      default:
        if (!list->items.empty()) {
          list->items.erase(list->items.begin() +
                            static_cast<long>(random->below(list->items.size())));
        }
    }
  }
}

}  // namespace hostile
