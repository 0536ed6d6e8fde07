// Vectors of kLanes images, and how they are read from and written to memory.
//
// Included by phases.h for one x86-64 level after the other, in the namespace of that level and
// after the level's target is set: nothing here may be shared between them.

template <class A, size_t count>
struct VectorOf {
  typedef A Type __attribute__((vector_size(count * sizeof(A)), aligned(sizeof(A)), may_alias));
};

template <class A>
struct LanesOf {
  using Type = typename VectorOf<A, kLanes>::Type;
  using Bits = std::conditional_t<sizeof(A) == 4, uint32_t, uint64_t>;
  typedef Bits Mask __attribute__((vector_size(kLanes * sizeof(A))));
};
template <class A>
using Lanes = typename LanesOf<A>::Type;
using Wide = Lanes<double>;

// As much of a vector as a register of the level holds: what is kept in registers through a loop
// must be no wider, or the compiler keeps it in memory.
template <class A>
struct PartOf {
  using Type = typename VectorOf<A, ADARTS_REGISTER_BYTES / sizeof(A)>::Type;
};
template <class A>
using Part = typename PartOf<A>::Type;
template <class A>
constexpr int64_t kParts = sizeof(Lanes<A>) / sizeof(Part<A>);

template <class A>
ADARTS_INLINE Part<A>* parts_of(Lanes<A>* vectors) {
  return reinterpret_cast<Part<A>*>(vectors);
}
template <class A>
ADARTS_INLINE const Part<A>* parts_of(const Lanes<A>* vectors) {
  return reinterpret_cast<const Part<A>*>(vectors);
}

using Bits16 = typename VectorOf<uint16_t, kLanes>::Type;
using Bits32 = typename VectorOf<uint32_t, kLanes>::Type;

template <class T>
ADARTS_INLINE Lanes<Accumulate<T>> load(const T* from) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const Bits16 bits = *reinterpret_cast<const Bits16*>(from);
    return Lanes<float>(__builtin_convertvector(bits, Bits32) << 16);
  } else {
    return *reinterpret_cast<const Lanes<T>*>(from);
  }
}

// Stores lanes, or parts of them.
template <class T, class V>
ADARTS_INLINE void store(T* to, V v) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    constexpr size_t count = sizeof(V) / sizeof(float);
    using Narrow = typename VectorOf<uint16_t, count>::Type;
    using Whole = typename VectorOf<uint32_t, count>::Type;
    const Whole bits = reinterpret_cast<const Whole&>(v);
    const Whole rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Whole nan = (bits << 1) > 0xff000000u;
    const Whole result = (rounded & ~nan) | (nan & 0x7fc0);
    *reinterpret_cast<Narrow*>(to) = __builtin_convertvector(result, Narrow);
  } else {
    *reinterpret_cast<typename VectorOf<T, sizeof(V) / sizeof(T)>::Type*>(to) = v;
  }
}

// Ask for the cache line at an address before it is read or written. A store to a line that is not
// in the caches holds up those behind it, and no processor foresees as many streams as a cell has.
ADARTS_INLINE void will_read(const void* at) { __builtin_prefetch(at, 0, 2); }
ADARTS_INLINE void will_write(const void* at) { __builtin_prefetch(at, 1, 2); }

template <class A>
ADARTS_INLINE Lanes<A> splat(A value) {
  return value - Lanes<A>{};
}

// As torch's relu, a not-a-number stays one. In parts: wider comparisons are made lane by lane.
template <class V>
ADARTS_INLINE V relu(V v) {
  using A = std::remove_cvref_t<decltype(v[0])>;
  ADARTS_UNROLL(4)
  for (int64_t part = 0; part < kParts<A>; ++part) {
    Part<A>& values = parts_of<A>(&v)[part];
    values = Part<A>{} > values ? Part<A>{} : values;
  }
  return v;
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

// The sum of a vector, by adding its halves.
template <class V>
ADARTS_INLINE auto sum_halves(V v) {
  using A = std::remove_cvref_t<decltype(v[0])>;
  if constexpr (sizeof(V) == 2 * sizeof(A)) {
    return v[0] + v[1];
  } else {
    typedef A Half __attribute__((vector_size(sizeof(V) / 2)));
    Half halves[2];
    std::memcpy(halves, &v, sizeof(v));
    return sum_halves(Half(halves[0] + halves[1]));
  }
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
