#include "level.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace adarts::cpu {

namespace {

const char* name(Level level) {
  return level == Level::kV4 ? "v4" : level == Level::kV3 ? "v3" : "baseline";
}

Level highest() {
#if ADARTS_LEVELS
  if (__builtin_cpu_supports("x86-64-v4")) return Level::kV4;
  if (__builtin_cpu_supports("x86-64-v3")) return Level::kV3;
#endif
  return Level::kBaseline;
}

Level wanted() {
  const char* value = std::getenv("ADARTS_CPU_LEVEL");
  if (value == nullptr || *value == '\0') return highest();
  for (const Level level : {Level::kBaseline, Level::kV3, Level::kV4}) {
    if (std::string(value) != name(level)) continue;
    if (level <= highest()) return level;
    throw std::runtime_error(std::string("ADARTS_CPU_LEVEL is ") + value +
                             ", but this processor has " + name(highest()) + " at most");
  }
  throw std::runtime_error(std::string("ADARTS_CPU_LEVEL is ") + value +
                           ", expected baseline, v3 or v4");
}

}  // namespace

Level level() {
  static const Level chosen = wanted();
  return chosen;
}

}  // namespace adarts::cpu
