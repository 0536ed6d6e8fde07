#include "kernel_name.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <vector>

namespace emulator {

namespace {

// A kernel is seldom visible outside of its library, so the library's full symbol table is read,
// not the one that dladdr knows.
std::string symbol_at(const char* file, uint64_t offset) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  std::vector<char> bytes(stream.tellg());
  stream.seekg(0).read(bytes.data(), bytes.size());
  const auto* const header = reinterpret_cast<const Elf64_Ehdr*>(bytes.data());
  const auto* const sections = reinterpret_cast<const Elf64_Shdr*>(&bytes[header->e_shoff]);
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* const symbols = reinterpret_cast<const Elf64_Sym*>(&bytes[sections[s].sh_offset]);
    const char* const names = &bytes[sections[sections[s].sh_link].sh_offset];
    for (uint64_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i)
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && symbols[i].st_value == offset)
        return names + symbols[i].st_name;
  }
  return "";
}

std::string plain_name(std::string symbol) {
  char* const demangled = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, nullptr);
  if (!demangled) return symbol;  // of C
  std::string name = demangled;
  std::free(demangled);
  const std::string anonymous = "(anonymous namespace)::";
  for (size_t at; (at = name.find(anonymous)) != std::string::npos;)
    name.erase(at, anonymous.size());
  name.erase(name.find_first_of("<("));
  const size_t start = name.find_last_of(": ");
  return start == std::string::npos ? name : name.substr(start + 1);
}

}  // namespace

std::string kernel_symbol(const void* kernel) {
  static std::map<const void*, std::string> known;
  const auto found = known.find(kernel);
  if (found != known.end()) return found->second;
  Dl_info library;
  if (!dladdr(kernel, &library)) return "?";
  const uint64_t offset =
      reinterpret_cast<uint64_t>(kernel) - reinterpret_cast<uint64_t>(library.dli_fbase);
  return known[kernel] = symbol_at(library.dli_fname, offset);
}

std::string kernel_name(const void* kernel) { return plain_name(kernel_symbol(kernel)); }

}  // namespace emulator
