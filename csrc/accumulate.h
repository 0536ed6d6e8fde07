// The type sums are made in: double for double, float for everything else.
#pragma once

#include <type_traits>

namespace adarts {

template <class T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace adarts
