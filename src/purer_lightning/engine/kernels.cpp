// BatchNorm, ReLU and 2x2 max-pooling in one pass over memory, and their gradient in one more.
//
// Tensors lie with the channels innermost: (images, height, width, channels). A pass over an activation costs more than
// the arithmetic on it, so each kernel reads it once. Images are shared out over threads; sums are kept by image and
// added in the order of images, so that the number of threads changes no bit.
//
// `place` says of each pooled value which of its four pixels it came from (row by row, the first of equals, as PyTorch
// chooses), or PASSED_NOTHING where ReLU let nothing through.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr uint8_t PASSED_NOTHING = 4;
constexpr int64_t RUN = 64;  // pixels that are summed in the tensors' own precision before they enter a double

// Sums of (x - reference) and its square over `pixels`, by channel.
template <typename Real>
void add_moments(const Real* x, const Real* reference, int64_t pixels, int64_t channels, double* sums, Real* run) {
  for (int64_t begin = 0; begin < pixels; begin += RUN) {
    const int64_t end = begin + RUN < pixels ? begin + RUN : pixels;
    for (int64_t c = 0; c < 2 * channels; ++c) run[c] = 0;
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const Real* at = x + pixel * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const Real difference = at[c] - reference[c];
        run[c] += difference;
        run[channels + c] += difference * difference;
      }
    }
    for (int64_t c = 0; c < 2 * channels; ++c) sums[c] += run[c];
  }
}

template <typename Real>
void moments(const Real* x, const Real* reference, int64_t images, int64_t pixels, int64_t channels, double* sums,
             int threads) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<Real> run(2 * channels);
#pragma omp for schedule(static)
    for (int64_t image = 0; image < images; ++image)
      add_moments(x + image * pixels * channels, reference, pixels, channels, sums + image * 2 * channels, run.data());
  }
}

// out = pool(relu(x * scale + shift)).
template <typename Real>
void forward_image(const Real* x, const Real* scale, const Real* shift, int64_t height, int64_t width, int64_t channels,
                   Real* out, uint8_t* place, Real* which) {
  for (int64_t row = 0; row < height / 2; ++row)
    for (int64_t column = 0; column < width / 2; ++column) {
      const Real* top = x + (2 * row * width + 2 * column) * channels;
      const Real* bottom = top + width * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const Real first = top[c] * scale[c] + shift[c], second = top[channels + c] * scale[c] + shift[c];
        const Real third = bottom[c] * scale[c] + shift[c], fourth = bottom[channels + c] * scale[c] + shift[c];
        const Real upper = second > first ? second : first, lower = fourth > third ? fourth : third;
        const Real best = lower > upper ? lower : upper;
        const Real sum = (first + second) + (third + fourth);
        // A NaN wins, as in PyTorch; the sum of opposite infinities is one, too.
        out[c] = sum != sum ? sum : (best > 0 ? best : Real(0));
        const Real chosen = first == best ? Real(0) : second == best ? Real(1) : third == best ? Real(2) : Real(3);
        which[c] = best > 0 ? chosen : Real(PASSED_NOTHING);
      }
      for (int64_t c = 0; c < channels; ++c) place[c] = static_cast<uint8_t>(which[c]);
      out += channels;
      place += channels;
    }
}

template <typename Real>
void forward(const Real* x, const Real* scale, const Real* shift, const Real* reference, int64_t images, int64_t height,
             int64_t width, int64_t channels, Real* out, uint8_t* place, double* sums, int threads) {
  const int64_t size = height * width * channels, pooled = (height / 2) * (width / 2) * channels;
#pragma omp parallel num_threads(threads)
  {
    std::vector<Real> run(2 * channels);
#pragma omp for schedule(static)
    for (int64_t image = 0; image < images; ++image) {
      const Real* own = x + image * size;
      if (sums) add_moments(own, reference, height * width, channels, sums + image * 2 * channels, run.data());
      forward_image(own, scale, shift, height, width, channels, out + image * pooled, place + image * pooled, run.data());
    }
  }
}

// Sums, by image and channel, of the gradient that passes pooling and ReLU, and of its product with (x - reference).
template <typename Real>
void passed(const Real* x, const Real* gradient, const uint8_t* place, const Real* reference, int64_t images,
            int64_t height, int64_t width, int64_t channels, double* sums, int threads) {
  const int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel num_threads(threads)
  {
    std::vector<Real> run(2 * channels), which(channels);
#pragma omp for schedule(static)
    for (int64_t image = 0; image < images; ++image) {
      double* own = sums + image * 2 * channels;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t c = 0; c < 2 * channels; ++c) run[c] = 0;
        for (int64_t column = 0; column < columns; ++column) {
          const int64_t at = ((image * rows + row) * columns + column) * channels;
          const Real* top = x + ((image * height + 2 * row) * width + 2 * column) * channels;
          const Real* bottom = top + width * channels;
          for (int64_t c = 0; c < channels; ++c) which[c] = place[at + c];
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            const Real chosen = which[c];
            const Real upper = chosen == 0 ? top[c] : top[channels + c];
            const Real lower = chosen == 2 ? bottom[c] : bottom[channels + c];
            const Real value = chosen < 2 ? upper : lower;
            const Real flows = chosen == PASSED_NOTHING ? Real(0) : gradient[at + c];
            run[c] += flows;
            run[channels + c] += flows * (value - reference[c]);
          }
        }
        for (int64_t c = 0; c < 2 * channels; ++c) own[c] += run[c];
      }
    }
  }
}

// out = the pixel of x that each pooled value came from, 0 where ReLU let nothing through.
template <typename Real>
void chosen(const Real* x, const uint8_t* place, int64_t images, int64_t height, int64_t width, int64_t channels,
            Real* out, int threads) {
  const int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel num_threads(threads)
  {
    std::vector<Real> which(channels);
#pragma omp for schedule(static)
    for (int64_t image = 0; image < images; ++image)
      for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
        const int64_t at = (image * rows * columns + pixel) * channels;
        const int64_t row = 2 * (pixel / columns), column = 2 * (pixel % columns);
        const Real* top = x + ((image * height + row) * width + column) * channels;
        const Real* bottom = top + width * channels;
        for (int64_t c = 0; c < channels; ++c) which[c] = place[at + c];
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const Real upper = which[c] == 0 ? top[c] : top[channels + c];
          const Real lower = which[c] == 2 ? bottom[c] : bottom[channels + c];
          out[at + c] = which[c] == PASSED_NOTHING ? Real(0) : which[c] < 2 ? upper : lower;
        }
      }
  }
}

// out = (the gradient that passes) * scale + slope * x + offset; the last two are what statistics of x send back.
template <typename Real>
void backward(const Real* x, const Real* gradient, const uint8_t* place, const Real* scale, const Real* slope,
              const Real* offset, int64_t images, int64_t height, int64_t width, int64_t channels, Real* out,
              int threads) {
  const int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t image = 0; image < images; ++image)
    for (int64_t row = 0; row < height; ++row)
      for (int64_t column = 0; column < width; ++column) {
        const int64_t from = ((image * height + row) * width + column) * channels;
        const Real* own = x + from;
        Real* to = out + from;
        if (row / 2 >= rows || column / 2 >= columns) {  // an odd last row or column, which pooling leaves out
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) to[c] = slope[c] * own[c] + offset[c];
          continue;
        }
        const int64_t at = ((image * rows + row / 2) * columns + column / 2) * channels;
        const uint8_t here = static_cast<uint8_t>(2 * (row % 2) + column % 2);
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const Real flows = place[at + c] == here ? gradient[at + c] * scale[c] : Real(0);
          to[c] = flows + (slope[c] * own[c] + offset[c]);
        }
      }
}

// The sum of a vector's lanes, halves onto halves, which takes fewer steps than one lane after the other.
template <typename Real, int LANES>
Real added_up(const Real* lanes) {
  if constexpr (LANES == 1) {
    return lanes[0];
  } else {
    Real half[LANES / 2];
    for (int lane = 0; lane < LANES / 2; ++lane) half[lane] = lanes[lane] + lanes[lane + LANES / 2];
    return added_up<Real, LANES / 2>(half);
  }
}

// The gradient of a 3x3 convolution with padding 1 with respect to images of K channels. A library's kernels work on 16
// outputs at once, of which K are wanted; here the vectors run over the filters, and two pixels share each weight.
template <typename Real, int K>
void image_gradient(const Real* gradient, const Real* weight, int64_t images, int64_t height, int64_t width,
                    int64_t filters, Real* out, int threads) {
  constexpr int LANES = 64 / sizeof(Real);
  typedef Real Vector __attribute__((vector_size(64), aligned(sizeof(Real)), may_alias));
  const int64_t parts = filters / LANES;
  const std::vector<Real> zeros(filters);
  const Vector* weights = reinterpret_cast<const Vector*>(weight);  // by row, column, image channel, filter
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t line = 0; line < images * height; ++line) {
    const int64_t image = line / height, row = line % height;
    for (int64_t column = 0; column < width; column += 2) {
      Vector left[K] = {}, right[K] = {};
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < 3; ++j) {
          const int64_t y = row + 1 - i, x = column + 1 - j;
          const Real* at = gradient + ((image * height + y) * width + x) * filters;
          const bool inside = y >= 0 && y < height;
          const Vector* here = reinterpret_cast<const Vector*>(inside && x >= 0 && x < width ? at : zeros.data());
          const Vector* next =
              reinterpret_cast<const Vector*>(inside && x + 1 >= 0 && x + 1 < width ? at + filters : zeros.data());
          const Vector* tap = weights + (3 * i + j) * K * parts;
          for (int64_t part = 0; part < parts; ++part)
            for (int k = 0; k < K; ++k) {
              left[k] += here[part] * tap[k * parts + part];
              right[k] += next[part] * tap[k * parts + part];
            }
        }
      Real* to = out + (line * width + column) * K;
      for (int k = 0; k < K; ++k) {
        to[k] = added_up<Real, LANES>(reinterpret_cast<const Real*>(&left[k]));
        if (column + 1 < width) to[K + k] = added_up<Real, LANES>(reinterpret_cast<const Real*>(&right[k]));
      }
    }
  }
}

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

// Mean and biased variance by channel from the sums of `moments`.
template <typename Real>
void conclude(const std::vector<double>& sums, const Real* reference, int64_t images, int64_t pixels, int64_t channels,
              Real* mean, Real* variance) {
  const double count = static_cast<double>(images * pixels);
  for (int64_t c = 0; c < channels; ++c) {
    double first = 0, second = 0;
    for (int64_t image = 0; image < images; ++image) {
      first += sums[image * 2 * channels + c];
      second += sums[image * 2 * channels + channels + c];
    }
    mean[c] = static_cast<Real>(reference[c] + first / count);
    variance[c] = static_cast<Real>(second / count - (first / count) * (first / count));
  }
}

// Mean and variance without a reference: the first image's mean serves, so that few digits cancel.
template <typename Real>
void statistics(const Real* x, int64_t images, int64_t pixels, int64_t channels, Real* mean, Real* variance,
                int threads) {
  std::vector<double> sums(images * 2 * channels), first(2 * channels);
  std::vector<Real> reference(channels), run(2 * channels);
  add_moments(x, reference.data(), pixels, channels, first.data(), run.data());
  for (int64_t c = 0; c < channels; ++c) reference[c] = static_cast<Real>(first[c] / pixels);
  moments(x, reference.data(), images, pixels, channels, sums.data(), threads);
  conclude(sums, reference.data(), images, pixels, channels, mean, variance);
}

// BatchNorm, ReLU and pooling. Statistics are those given, or the batch's own; the latter are found on the way if asked.
template <typename Real>
void block(const Real* x, const Real* weight, const Real* bias, const Real* given_mean, const Real* given_variance,
           double eps, int64_t images, int64_t height, int64_t width, int64_t channels, Real* out, uint8_t* place,
           Real* mean, Real* variance, int threads) {
  const int64_t pixels = height * width;
  if (!given_mean) statistics(x, images, pixels, channels, mean, variance, threads);
  const Real* used_mean = given_mean ? given_mean : mean;
  const Real* used_variance = given_variance ? given_variance : variance;
  std::vector<Real> scale(channels), shift(channels);
  for (int64_t c = 0; c < channels; ++c) {
    scale[c] = weight[c] / std::sqrt(used_variance[c] + static_cast<Real>(eps));
    shift[c] = bias[c] - used_mean[c] * scale[c];
  }
  const bool found_on_the_way = given_mean && mean;
  std::vector<double> sums(found_on_the_way ? images * 2 * channels : 0);
  forward(x, scale.data(), shift.data(), used_mean, images, height, width, channels, out, place,
          found_on_the_way ? sums.data() : nullptr, threads);
  if (found_on_the_way) conclude(sums, used_mean, images, pixels, channels, mean, variance);
}

// The gradient of `block`, given those of the pooled values and, where not null, of the batch's mean and variance.
// Ioffe & Szegedy (2015), where the statistics are the batch's own:
// scale * (g - mean(g) - (x - mean) * deviation^2 * mean(g * (x - mean))).
template <typename Real>
void block_gradient(const Real* x, const Real* gradient, const uint8_t* place, const Real* weight,
                    const Real* used_mean, const Real* used_variance, double eps, int own, const Real* mean,
                    const Real* to_mean, const Real* to_variance, int64_t images, int64_t height, int64_t width,
                    int64_t channels, Real* out, Real* to_weight, Real* to_bias, int threads) {
  const double count = static_cast<double>(images * height * width);
  std::vector<double> sums(own || to_weight ? images * 2 * channels : 0);
  if (own || to_weight)
    passed(x, gradient, place, used_mean, images, height, width, channels, sums.data(), threads);
  std::vector<Real> scale(channels), slope(channels), offset(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double deviation = 1 / std::sqrt(static_cast<double>(used_variance[c]) + eps);
    double through = 0, product = 0, a = 0, b = 0;
    for (size_t at = c; at < sums.size(); at += 2 * channels) {
      through += sums[at];
      product += sums[at + channels];
    }
    if (to_weight) to_weight[c] = static_cast<Real>(product * deviation);
    if (to_weight) to_bias[c] = static_cast<Real>(through);
    if (own) a = -weight[c] * deviation * deviation * deviation * product / count;
    if (own) b = -weight[c] * deviation * through / count - a * used_mean[c];
    if (to_variance) a += to_variance[c] * 2 / count;
    if (to_variance) b -= to_variance[c] * 2 / count * mean[c];
    if (to_mean) b += to_mean[c] / count;
    scale[c] = static_cast<Real>(weight[c] * deviation);
    slope[c] = static_cast<Real>(a);
    offset[c] = static_cast<Real>(b);
  }
  if (out)
    backward(x, gradient, place, scale.data(), slope.data(), offset.data(), images, height, width, channels, out,
             threads);
}

}  // namespace

// What is called from Python, once for each type of tensors.
#define PURER_KERNELS(Real, suffix)                                                                                    \
  extern "C" void statistics_##suffix(const Real* x, int64_t images, int64_t pixels, int64_t channels, Real* mean,     \
                                      Real* variance, int threads) {                                                   \
    statistics(x, images, pixels, channels, mean, variance, threads);                                                  \
  }                                                                                                                    \
  extern "C" void block_##suffix(const Real* x, const Real* weight, const Real* bias, const Real* given_mean,          \
                                 const Real* given_variance, double eps, int64_t images, int64_t height,               \
                                 int64_t width, int64_t channels, Real* out, uint8_t* place, Real* mean,               \
                                 Real* variance, int threads) {                                                        \
    block(x, weight, bias, given_mean, given_variance, eps, images, height, width, channels, out, place, mean,         \
          variance, threads);                                                                                          \
  }                                                                                                                    \
  extern "C" void block_gradient_##suffix(                                                                             \
      const Real* x, const Real* gradient, const uint8_t* place, const Real* weight, const Real* used_mean,            \
      const Real* used_variance, double eps, int64_t own, const Real* mean, const Real* to_mean,                       \
      const Real* to_variance, int64_t images, int64_t height, int64_t width, int64_t channels, Real* out,             \
      Real* to_weight, Real* to_bias, int threads) {                                                                   \
    block_gradient(x, gradient, place, weight, used_mean, used_variance, eps, static_cast<int>(own), mean, to_mean,    \
                   to_variance, images, height, width, channels, out, to_weight, to_bias, threads);                    \
  }                                                                                                                    \
  extern "C" void chosen_##suffix(const Real* x, const uint8_t* place, int64_t images, int64_t height, int64_t width,  \
                                  int64_t channels, Real* out, int threads) {                                          \
    chosen(x, place, images, height, width, channels, out, threads);                                                   \
  }                                                                                                                    \
  extern "C" void backward_##suffix(const Real* x, const Real* gradient, const uint8_t* place, const Real* scale,      \
                                    const Real* slope, const Real* offset, int64_t images, int64_t height,             \
                                    int64_t width, int64_t channels, Real* out, int threads) {                         \
    backward(x, gradient, place, scale, slope, offset, images, height, width, channels, out, threads);                 \
  }                                                                                                                    \
  extern "C" void image_gradient_##suffix(const Real* gradient, const Real* weight, int64_t images, int64_t height,     \
                                          int64_t width, int64_t filters, int64_t channels, Real* out, int threads) {  \
    auto chosen_kernel = channels == 1   ? image_gradient<Real, 1>                                                     \
                         : channels == 2 ? image_gradient<Real, 2>                                                     \
                         : channels == 3 ? image_gradient<Real, 3>                                                     \
                                         : image_gradient<Real, 4>;                                                    \
    chosen_kernel(gradient, weight, images, height, width, filters, out, threads);                                     \
  }                                                                                                                    \
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
