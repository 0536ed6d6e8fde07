// Shared memory that reports what is wrong with an access: an index out of bounds, a read of what
// nobody has written, and two accesses that no barrier orders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace emulator {

class Block;

struct Access {
  unsigned thread;
  unsigned epoch;  // barriers the block had passed
  unsigned tick;   // the thread's own count of __syncwarp
};

class SharedStorage {
 public:
  SharedStorage(Block& block, const void* site, const char* name, size_t element, size_t count)
      : site(site),
        element(element),
        name_(name),
        block_(block),
        count_(count),
        bytes_(element * count),
        cells_(count) {}

  void check(int64_t index) const;
  void read(int64_t index, void* value);
  void write(int64_t index, const void* value);
  void* update(int64_t index);  // for an atomic operation

  const void* const site;
  const size_t element;

 private:
  struct Cell {
    bool written = false;
    bool atomic = false;  // the last write was
    Access write;
    std::vector<Access> reads;  // since the last write
  };

  void check_written(int64_t index, const char* what) const;
  void check_reads(int64_t index) const;
  std::string at(int64_t index) const;

  const char* name_;
  Block& block_;
  size_t count_;
  std::vector<unsigned char> bytes_;
  std::vector<Cell> cells_;
};

// What is wrong with so many bytes, if anything; `raised` is what allow_shared was given, or 0.
std::string shared_problem(size_t fixed, size_t dynamic, size_t raised);

class SharedMemory {
 public:
  SharedMemory(Block& block, size_t dynamic_bytes, size_t raised_bytes)
      : block_(block), dynamic_bytes_(dynamic_bytes), raised_bytes_(raised_bytes) {}

  SharedStorage& fixed(const void* site, const char* name, size_t element, size_t count);
  SharedStorage& dynamic(const char* name, size_t element);

 private:
  Block& block_;
  size_t dynamic_bytes_, raised_bytes_;
  size_t fixed_bytes_ = 0;
  std::vector<std::unique_ptr<SharedStorage>> arrays_;
};

template <class T>
struct SharedAddress {
  SharedStorage* storage;
  int64_t index;
};

// An element. It is used at once; `auto x = array[i]` would read later than on a GPU, so that such
// an x cannot be used.
template <class T>
class SharedElement {
 public:
  SharedElement(SharedStorage* storage, int64_t index) : storage_(storage), index_(index) {
    storage->check(index);
  }
  SharedElement(const SharedElement&) = delete;

  operator T() const&& { return get(); }
  SharedAddress<T> operator&() const&& { return {storage_, index_}; }

  const SharedElement&& operator=(const T& value) const&& { return set(value); }
  const SharedElement&& operator=(const SharedElement&& other) const&& { return set(other.get()); }
  const SharedElement&& operator+=(const T& value) const&& { return set(get() + value); }
  const SharedElement&& operator-=(const T& value) const&& { return set(get() - value); }
  const SharedElement&& operator*=(const T& value) const&& { return set(get() * value); }

 private:
  T get() const {
    T value;
    storage_->read(index_, &value);
    return value;
  }
  const SharedElement&& set(const T& value) const {
    storage_->write(index_, &value);
    return static_cast<const SharedElement&&>(*this);
  }

  SharedStorage* storage_;
  int64_t index_;
};

template <class T>
class SharedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit SharedArray(SharedStorage& storage) : storage_(&storage) {}
  SharedElement<T> operator[](int64_t index) const { return {storage_, index}; }

 private:
  SharedStorage* storage_;
};

}  // namespace emulator
