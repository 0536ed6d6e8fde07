// The 3x3 pools of a channel, row by row: maximum, and average over the pixels inside the plane.

// One row with a border of one, so that the windows at the ends need no test.
template <class A>
class PoolRows {
 public:
  explicit PoolRows(int64_t in_width)
      : buffer_(2 * (in_width + 2)), maximum_(buffer_ + 1), sum_(buffer_ + in_width + 3) {
    sum_[-1] = sum_[in_width] = Lanes<A>{};
    maximum_[-1] = maximum_[in_width] = splat(-std::numeric_limits<A>::infinity());
  }

  // Row y of the pools of scale * h at stride S.
  template <int S, class T>
  ADARTS_INLINE void row(const T* h, int64_t in_height, int64_t in_width, Lanes<A> scale, int64_t y,
                         Lanes<A>* maxima, Lanes<A>* averages) const {
    const T* row = h + y * S * in_width * kLanes;
    const bool above = y > 0, below = y * S + 1 < in_height;
    const int64_t rows = 1 + above + below;
    if (above && below)
      vertical<true, true>(row, in_width);
    else if (above)
      vertical<true, false>(row, in_width);
    else if (below)
      vertical<false, true>(row, in_width);
    else
      vertical<false, false>(row, in_width);
    const Lanes<A> inside = scale * (A(1) / A(rows * 3));
    for (int64_t x = 0; x < in_width / S; ++x) {
      const int64_t at = x * S;
      maxima[x] = scale * larger(maximum_[at + 1], larger(maximum_[at], maximum_[at - 1]));
      averages[x] = inside * (sum_[at - 1] + sum_[at] + sum_[at + 1]);
    }
    for (const int64_t x : {int64_t(0), in_width / S - 1}) {  // windows over the border
      const int64_t at = x * S;
      const int64_t columns = 3 - (at == 0) - (at == in_width - 1);
      averages[x] = scale * (A(1) / A(rows * columns)) * (sum_[at - 1] + sum_[at] + sum_[at + 1]);
    }
  }

 private:
  // Maximum and sum over the rows of a window, the middle one being `row`.
  template <bool Above, bool Below, class T>
  ADARTS_INLINE void vertical(const T* row, int64_t in_width) const {
    for (int64_t x = 0; x < in_width; ++x) {
      const T* at = row + x * kLanes;
      Lanes<A> maximum = load(at), sum = maximum;
      if constexpr (Above) {
        const Lanes<A> value = load(at - in_width * kLanes);
        maximum = larger(value, maximum);
        sum += value;
      }
      if constexpr (Below) {
        const Lanes<A> value = load(at + in_width * kLanes);
        maximum = larger(value, maximum);
        sum += value;
      }
      maximum_[x] = maximum;
      sum_[x] = sum;
    }
  }

  Scratch<A> buffer_;
  Lanes<A>* maximum_;
  Lanes<A>* sum_;
};
