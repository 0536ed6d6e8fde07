// Vectors of kLanes images, and how they are read from and written to memory.
//
// Included by phases.h for one x86-64 level after the other, in the namespace of that level and
// after the level's target is set: nothing here may be shared between them.

template <class A>
struct LanesOf {
  typedef A Type __attribute__((vector_size(kLanes * sizeof(A)), aligned(sizeof(A)), may_alias));
  using Bits = std::conditional_t<sizeof(A) == 4, uint32_t, uint64_t>;
  typedef Bits Mask __attribute__((vector_size(kLanes * sizeof(A))));
};
template <class A>
using Lanes = typename LanesOf<A>::Type;
using Wide = Lanes<double>;
typedef uint16_t Bits16 __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));
typedef uint32_t Bits32 __attribute__((vector_size(kLanes * 4)));

template <class T>
ADARTS_INLINE Lanes<Accumulate<T>> load(const T* from) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const Bits16 bits = *reinterpret_cast<const Bits16*>(from);
    return Lanes<float>(__builtin_convertvector(bits, Bits32) << 16);
  } else {
    return *reinterpret_cast<const Lanes<T>*>(from);
  }
}

template <class T>
ADARTS_INLINE void store(T* to, Lanes<Accumulate<T>> v) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const Bits32 bits = Bits32(v);
    const Bits32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Bits32 nan = (bits << 1) > 0xff000000u;
    const Bits32 result = (rounded & ~nan) | (nan & 0x7fc0);
    *reinterpret_cast<Bits16*>(to) = __builtin_convertvector(result, Bits16);
  } else {
    *reinterpret_cast<Lanes<T>*>(to) = v;
  }
}

template <class A>
ADARTS_INLINE Lanes<A> splat(A value) {
  return value - Lanes<A>{};
}

// As torch's relu, a not-a-number stays one.
template <class V>
ADARTS_INLINE V relu(V v) {
  return V{} > v ? V{} : v;
}

template <class V>
ADARTS_INLINE V larger(V a, V b) {  // as torch's max pooling, a not-a-number stays one
  return ((a > b) | (a != a)) ? a : b;
}

template <class V>
ADARTS_INLINE Wide widen(V v) {
  return __builtin_convertvector(v, Wide);
}

template <class V>
ADARTS_INLINE double sum_lanes(V v) {
  typedef double Eight __attribute__((vector_size(64)));
  Eight halves[2];
  const Wide wide = widen(v);
  std::memcpy(halves, &wide, sizeof(wide));
  const Eight sum = halves[0] + halves[1];
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

// 1 in the lanes of images, 0 beyond the batch.
template <class A>
ADARTS_INLINE Lanes<A> real_lanes(int64_t lanes) {
  Lanes<A> mask{};
  for (int lane = 0; lane < kLanes; ++lane) mask[lane] = lane < lanes ? A(1) : A(0);
  return mask;
}

// Vectors for a task, in the thread's scratch memory: not cleared.
template <class A>
class Scratch {
 public:
  explicit Scratch(int64_t count) : memory_(count * sizeof(Lanes<A>)) {}

  operator Lanes<A>*() const { return static_cast<Lanes<A>*>(memory_.data()); }
  void clear(int64_t count) { std::memset(memory_.data(), 0, count * sizeof(Lanes<A>)); }

 private:
  ThreadMemory memory_;
};

constexpr int64_t kRun = 8;  // pixels whose sums are made in A, before they go on in double

// Adds sum u and sum u^2 of pixels, through sums of their distance from the first: the variance is
// the difference of the two, which loses all digits where the mean is large. put(p, u) is called
// for each of them.
template <class A, class Put>
ADARTS_INLINE void add_moments(const Lanes<A>* u, int64_t count, Wide* sum, Wide* square,
                               const Put& put) {
  Wide sums{}, squares{};
  const Lanes<A> first = u[0];
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = begin + kRun < count ? begin + kRun : count;
    Lanes<A> s{}, ss{};
    for (int64_t p = begin; p < end; ++p) {
      const Lanes<A> apart = u[p] - first;
      put(p, u[p]);
      s += apart;
      ss += apart * apart;
    }
    sums += widen(s);
    squares += widen(ss);
  }
  const Wide shift = widen(first), shifted = shift * double(count);
  *sum += sums + shifted;
  *square += squares + shift * (2 * sums + shifted);
}

template <class A>
ADARTS_INLINE void add_moments(const Lanes<A>* u, int64_t count, Wide* sum, Wide* square) {
  add_moments<A>(u, count, sum, square, [](int64_t, Lanes<A>) {});
}
