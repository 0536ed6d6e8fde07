#include "shared.h"

#include <cstring>

#include "block.h"

namespace emulator {

std::string SharedStorage::at(int64_t index) const {
  return std::string(name_) + "[" + std::to_string(index) + "]";
}

void SharedStorage::check(int64_t index) const {
  if (index < 0 || index >= static_cast<int64_t>(count_))
    block_.report("shared memory out of bounds: " + at(index) + ", which has " +
                  std::to_string(count_) + " elements");
}

void SharedStorage::check_written(int64_t index, const char* what) const {
  const Cell& cell = cells_[index];
  if (cell.written && !block_.ordered(cell.write))
    block_.report("missing barrier: " + std::string(what) + " " + at(index) + ", which " +
                  block_.name(cell.write.thread) + " wrote");
}

void SharedStorage::check_reads(int64_t index) const {
  for (const Access& read : cells_[index].reads)
    if (!block_.ordered(read))
      block_.report("missing barrier: writes " + at(index) + ", which " + block_.name(read.thread) +
                    " read");
}

void SharedStorage::read(int64_t index, void* value) {
  Cell& cell = cells_[index];
  if (!cell.written) block_.report("reads " + at(index) + ", which no thread has written");
  check_written(index, "reads");
  const Access access = block_.access();
  if (!cell.reads.empty() && cell.reads.back().epoch < access.epoch) cell.reads.clear();
  if (!cell.reads.empty() && cell.reads.back().thread == access.thread) cell.reads.pop_back();
  cell.reads.push_back(access);
  std::memcpy(value, &bytes_[index * element], element);
}

// Two threads may write the same value.
void SharedStorage::write(int64_t index, const void* value) {
  Cell& cell = cells_[index];
  if (cell.atomic || std::memcmp(&bytes_[index * element], value, element) != 0)
    check_written(index, "writes");
  check_reads(index);
  cell.written = true;
  cell.atomic = false;
  cell.write = block_.access();
  cell.reads.clear();
  std::memcpy(&bytes_[index * element], value, element);
}

void* SharedStorage::update(int64_t index) {
  Cell& cell = cells_[index];
  if (!cell.written) block_.report("reads " + at(index) + ", which no thread has written");
  if (!cell.atomic) check_written(index, "updates");
  check_reads(index);
  cell.atomic = true;
  cell.write = block_.access();
  cell.reads.clear();
  return &bytes_[index * element];
}

std::string shared_problem(size_t fixed, size_t dynamic, size_t raised) {
  constexpr size_t ordinary = 48 << 10;
  constexpr size_t largest = 227 << 10;
  const size_t limit = raised ? largest : ordinary;
  if (fixed <= ordinary && fixed + dynamic <= limit && (!raised || dynamic <= raised)) return "";
  return "too much shared memory: " + std::to_string(fixed) + " bytes static and " +
         std::to_string(dynamic) + " dynamic" +
         (raised ? " of " + std::to_string(raised) + " allowed" : "") + ", at most " +
         std::to_string(limit);
}

SharedStorage& SharedMemory::fixed(const void* site, const char* name, size_t element,
                                   size_t count) {
  for (const auto& array : arrays_)
    if (array->site == site) return *array;
  fixed_bytes_ += element * count;
  const std::string problem = shared_problem(fixed_bytes_, dynamic_bytes_, raised_bytes_);
  if (!problem.empty()) block_.report(problem);
  arrays_.push_back(std::make_unique<SharedStorage>(block_, site, name, element, count));
  return *arrays_.back();
}

SharedStorage& SharedMemory::dynamic(const char* name, size_t element) {
  for (const auto& array : arrays_) {
    if (array->site != nullptr) continue;
    if (array->element != element)
      block_.report("dynamic shared memory is declared with elements of " +
                    std::to_string(array->element) + " and of " + std::to_string(element) +
                    " bytes");
    return *array;
  }
  arrays_.push_back(
      std::make_unique<SharedStorage>(block_, nullptr, name, element, dynamic_bytes_ / element));
  return *arrays_.back();
}

}  // namespace emulator
