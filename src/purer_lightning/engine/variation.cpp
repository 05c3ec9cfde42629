// Total variation in one pass over the images, and its gradient in one more.
//
// Images lie as PyTorch has them by default, (images, channels, height, width): planes of rows. Planes are shared out over
// threads, and no sum runs over more than one, so that the number of threads changes no bit.

#include <cstdint>

namespace {

// The squares of four differences between neighbours, summed over a plane: along a row, along a column, both diagonals.
template <typename Real>
void add_variation(const Real* x, int64_t height, int64_t width, double* sums) {
  for (int64_t row = 0; row < height; ++row) {
    const Real* here = x + row * width;
    const Real* below = here + width;
    const int64_t last = width - 1;
    Real across = 0, down = 0, falling = 0, rising = 0;
#pragma omp simd reduction(+ : across)
    for (int64_t i = 0; i < last; ++i) across += (here[i + 1] - here[i]) * (here[i + 1] - here[i]);
    if (row + 1 < height) {
#pragma omp simd reduction(+ : down)
      for (int64_t i = 0; i < width; ++i) down += (below[i] - here[i]) * (below[i] - here[i]);
#pragma omp simd reduction(+ : falling, rising)
      for (int64_t i = 0; i < last; ++i) {
        falling += (below[i + 1] - here[i]) * (below[i + 1] - here[i]);
        rising += (below[i] - here[i + 1]) * (below[i] - here[i + 1]);
      }
    }
    sums[0] += across;
    sums[1] += down;
    sums[2] += falling;
    sums[3] += rising;
  }
}

template <typename Real>
void variation(const Real* x, int64_t planes, int64_t height, int64_t width, double* sums, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t plane = 0; plane < planes; ++plane)
    add_variation(x + plane * height * width, height, width, sums + 4 * plane);
}

// out = the gradient of sum_k weights[k] / 2 * (sum of squares k): each pixel gathers from its eight neighbours, of which
// those beyond the border are replaced by itself and so add nothing.
template <typename Real>
void variation_gradient(const Real* x, const Real* weights, int64_t planes, int64_t height, int64_t width, Real* out,
                        int threads) {
  const Real across = weights[0], down = weights[1], falling = weights[2], rising = weights[3];
  const int64_t last = width - 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t line = 0; line < planes * height; ++line) {
    const int64_t row = line % height;
    const Real* here = x + line * width;
    const Real* above = here - width;
    const Real* below = here + width;
    const Real top = row > 0 ? 1 : 0, bottom = row + 1 < height ? 1 : 0;
    if (row == 0) above = here;
    if (row + 1 == height) below = here;
    Real* to = out + line * width;
    const auto sides = [&](int64_t i, Real left, Real right) {
      const int64_t before = left ? i - 1 : i, after = right ? i + 1 : i;
      const Real own = here[i];
      return across * (left * (own - here[before]) + right * (own - here[after])) +
             down * (top * (own - above[i]) + bottom * (own - below[i])) +
             falling * (top * left * (own - above[before]) + bottom * right * (own - below[after])) +
             rising * (top * right * (own - above[after]) + bottom * left * (own - below[before]));
    };
    to[0] = sides(0, 0, last > 0 ? 1 : 0);
#pragma omp simd
    for (int64_t i = 1; i < last; ++i) {
      const Real own = here[i];
      to[i] = across * (2 * own - here[i - 1] - here[i + 1]) + down * (top * (own - above[i]) + bottom * (own - below[i])) +
              falling * (top * (own - above[i - 1]) + bottom * (own - below[i + 1])) +
              rising * (top * (own - above[i + 1]) + bottom * (own - below[i - 1]));
    }
    if (last > 0) to[last] = sides(last, 1, 0);
  }
}

}  // namespace

// What is called from Python, once for each type of tensors.
#define PURER_KERNELS(Real, suffix)                                                                                    \
  extern "C" void variation_##suffix(const Real* x, int64_t planes, int64_t height, int64_t width, double* sums,       \
                                     int threads) {                                                                    \
    variation(x, planes, height, width, sums, threads);                                                                \
  }                                                                                                                    \
  extern "C" void variation_gradient_##suffix(const Real* x, const Real* weights, int64_t planes, int64_t height,      \
                                              int64_t width, Real* out, int threads) {                                 \
    variation_gradient(x, weights, planes, height, width, out, threads);                                               \
  }

PURER_KERNELS(float, float32)
PURER_KERNELS(double, float64)
