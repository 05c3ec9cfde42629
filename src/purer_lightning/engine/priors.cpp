// The sums of squares that total variation and the l2 norm are roots of, in one pass over the images, and their gradient in
// one more.
//
// An image is rows of `length` numbers, of which neighbouring pixels are `step` apart: the channels where these lie
// innermost, 1 where each channel is a plane of its own. Images, or planes, are shared out over threads, and no sum runs
// over more than one, so that the number of threads changes no bit.

#include <cstdint>

namespace {

constexpr int SUMS = 5;  // differences along a row, along a column, both diagonals; the values themselves

// Adds the squares of an image.
template <typename Real>
void add_squares(const Real* x, int64_t height, int64_t length, int64_t step, double* sums) {
  for (int64_t row = 0; row < height; ++row) {
    const Real* here = x + row * length;
    const Real* below = here + length;
    const int64_t last = length - step;
    Real across = 0, down = 0, falling = 0, rising = 0, own = 0;
#pragma omp simd reduction(+ : across)
    for (int64_t i = 0; i < last; ++i) across += (here[i + step] - here[i]) * (here[i + step] - here[i]);
#pragma omp simd reduction(+ : own)
    for (int64_t i = 0; i < length; ++i) own += here[i] * here[i];
    if (row + 1 < height) {
#pragma omp simd reduction(+ : down)
      for (int64_t i = 0; i < length; ++i) down += (below[i] - here[i]) * (below[i] - here[i]);
#pragma omp simd reduction(+ : falling, rising)
      for (int64_t i = 0; i < last; ++i) {
        falling += (below[i + step] - here[i]) * (below[i + step] - here[i]);
        rising += (below[i] - here[i + step]) * (below[i] - here[i + step]);
      }
    }
    sums[0] += across;
    sums[1] += down;
    sums[2] += falling;
    sums[3] += rising;
    sums[4] += own;
  }
}

template <typename Real>
void squares(const Real* x, int64_t images, int64_t height, int64_t length, int64_t step, double* sums, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t image = 0; image < images; ++image)
    add_squares(x + image * height * length, height, length, step, sums + SUMS * image);
}

// out = the gradient of sum_k weights[k] / 2 * (sum of squares k): each pixel gathers from its eight neighbours, of which
// those beyond the border are replaced by itself and so add nothing.
template <typename Real>
void squares_gradient(const Real* x, const Real* weights, int64_t images, int64_t height, int64_t length, int64_t step,
                      Real* out, int threads) {
  const Real across = weights[0], down = weights[1], falling = weights[2], rising = weights[3], self = weights[4];
  const int64_t last = length - step;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t line = 0; line < images * height; ++line) {
    const int64_t row = line % height;
    const Real* here = x + line * length;
    const Real* above = here - length;
    const Real* below = here + length;
    const Real top = row > 0 ? 1 : 0, bottom = row + 1 < height ? 1 : 0;
    if (row == 0) above = here;
    if (row + 1 == height) below = here;
    Real* to = out + line * length;
    const auto at_a_side = [&](int64_t i, Real left, Real right) {
      const int64_t before = left ? i - step : i, after = right ? i + step : i;
      const Real own = here[i];
      to[i] = self * own + across * (left * (own - here[before]) + right * (own - here[after])) +
              down * (top * (own - above[i]) + bottom * (own - below[i])) +
              falling * (top * left * (own - above[before]) + bottom * right * (own - below[after])) +
              rising * (top * right * (own - above[after]) + bottom * left * (own - below[before]));
    };
    for (int64_t i = 0; i < step; ++i) at_a_side(i, 0, last > 0 ? 1 : 0);
#pragma omp simd
    for (int64_t i = step; i < last; ++i) {
      const Real own = here[i];
      to[i] = self * own + across * (2 * own - here[i - step] - here[i + step]) +
              down * (top * (own - above[i]) + bottom * (own - below[i])) +
              falling * (top * (own - above[i - step]) + bottom * (own - below[i + step])) +
              rising * (top * (own - above[i + step]) + bottom * (own - below[i - step]));
    }
    for (int64_t i = last > 0 ? last : length; i < length; ++i) at_a_side(i, 1, 0);
  }
}

}  // namespace

// What is called from Python, once for each type of tensors.
#define PURER_KERNELS(Real, suffix)                                                                                    \
  extern "C" void squares_##suffix(const Real* x, int64_t images, int64_t height, int64_t length, int64_t step,        \
                                   double* sums, int threads) {                                                        \
    squares(x, images, height, length, step, sums, threads);                                                           \
  }                                                                                                                    \
  extern "C" void squares_gradient_##suffix(const Real* x, const Real* weights, int64_t images, int64_t height,        \
                                            int64_t length, int64_t step, Real* out, int threads) {                    \
    squares_gradient(x, weights, images, height, length, step, out, threads);                                          \
  }

PURER_KERNELS(float, float32)
PURER_KERNELS(double, float64)
