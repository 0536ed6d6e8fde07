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
  const std::string name = value;
  if (name != "baseline" && name != "v3" && name != "v4")
    throw std::runtime_error("ADARTS_CPU_LEVEL is " + name + ", expected baseline, v3 or v4");
  const Level level = name == "v4" ? Level::kV4 : name == "v3" ? Level::kV3 : Level::kBaseline;
  if (level > highest())
    throw std::runtime_error("ADARTS_CPU_LEVEL is " + name +
                             ", which this processor does not have");
  return level;
}

}  // namespace

Level level() {
  static const Level chosen = wanted();
  return chosen;
}

}  // namespace adarts::cpu
