// Vectors as wide as the processor's, in the compiler's own terms, and memory that they can be loaded from.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

namespace purer {

#if defined(__AVX512F__)
constexpr int BYTES = 64, TILE = 8, PARTS = 12;  // of a vector; pixels of a tile; taps of a tile of weights
#elif defined(__AVX__)
constexpr int BYTES = 32, TILE = 4, PARTS = 6;  // half as many registers
#elif defined(__aarch64__)
constexpr int BYTES = 16, TILE = 8, PARTS = 12;
#else
constexpr int BYTES = 16, TILE = 4, PARTS = 6;
#endif

template <typename Real>
constexpr int LANES = BYTES / static_cast<int>(sizeof(Real));

template <typename Real>
struct Vectors {
  typedef Real One __attribute__((vector_size(BYTES), aligned(sizeof(Real)), may_alias));
  // As many bytes as it has lanes, twice as many, and integers as wide as the lanes: a comparison's outcome.
  typedef uint16_t Shorts __attribute__((vector_size(2 * BYTES / sizeof(Real))));
  typedef uint8_t Bytes __attribute__((vector_size(BYTES / sizeof(Real)), aligned(1), may_alias));
  typedef decltype(One() < One()) Integers;
};

template <typename Real>
const typename Vectors<Real>::One& vector_at(const Real* from) {
  return *reinterpret_cast<const typename Vectors<Real>::One*>(from);
}
template <typename Real>
typename Vectors<Real>::One& vector_at(Real* to) {
  return *reinterpret_cast<typename Vectors<Real>::One*>(to);
}

inline int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

template <typename Real>
int64_t lying(int64_t filters) {
  return rounded_up(filters, LANES<Real>);
}

// Zeros that begin at a cache line, and one vector more than was asked for: loads may reach beyond the end.
template <typename Real>
class Buffer {
 public:
  explicit Buffer(int64_t size)
      : data_(static_cast<Real*>(::operator new((size + 16) * sizeof(Real), std::align_val_t(64)))) {
    std::memset(data_, 0, (size + 16) * sizeof(Real));
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator Real*() { return data_; }
  operator const Real*() const { return data_; }

 private:
  Real* data_;
};

}  // namespace purer
