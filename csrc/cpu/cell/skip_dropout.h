// The dropout of skip connections on vectors of images.

// 1 in the lanes whose values are kept, 0 in those that are dropped; the first lane's place.
template <class A>
ADARTS_INLINE Lanes<A> kept_lanes(const SkipDropout& dropout, int64_t place) {
  constexpr Bits32 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Bits32 hash = dropout.hash<Bits32>(lanes + uint32_t(place));
  return __builtin_convertvector(-(hash >= dropout.share), Lanes<A>);
}
