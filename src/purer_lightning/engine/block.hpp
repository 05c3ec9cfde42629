// What a block of convolution, BatchNorm, ReLU and 2x2 max-pooling is made of, image by image.
//
// A pass over an activation costs more than the arithmetic on it, so an image goes through all that can be done with it
// while it is in the cache. Images are shared out over threads; sums are kept by image, or by SHARE images, and added in
// their order, so that the number of threads changes no bit.
//
// `place` says of each pooled value which of its four pixels it came from (row by row, the first of equals, as PyTorch
// chooses), or PASSED_NOTHING where ReLU let nothing through; `chosen` is the convolution's value there.

#pragma once

#include <cmath>
#include <vector>

#include "layer.hpp"

namespace purer {

constexpr uint8_t PASSED_NOTHING = 4;
constexpr int64_t RUN = 64;  // pixels that are summed in the tensors' own precision before they enter a double

// What the kernels are called with; null is what there is none of, or nobody wants. engine/block_kernels.py reads its
// fields from here.
template <typename Real>
struct Arguments {
  int64_t images, height, width, channels, filters;
  Strides strides;
  int64_t threads;
  double eps;
  const Real *x, *weight, *bias, *scale, *shift;    // of the block
  const Real *given_mean, *given_variance;          // to normalise by; null: the batch's own
  Real *mean, *variance;                            // the batch's own
  Real *convolved, *chosen, *values;                // what the block finds on its way; the convolution's output
  uint8_t* place;                                   //   may be null, and is then found again where it is needed
  const Real *to_values, *to_mean, *to_variance;    // the gradient of what the block gives
  Real *to_x, *to_weight, *to_bias, *to_scale;      // and of what it is given
  Real* to_shift;
  const Real *along_x, *along_weight, *along_bias;  // the gradient of the latter, for the second derivative
  const Real *along_scale, *along_shift;
  Real *again_values, *again_mean, *again_variance;

  Layer<Real> layer() const { return {images, height, width, channels, filters, strides}; }
  bool own() const { return !given_mean; }
  const Real* used_mean() const { return own() ? mean : given_mean; }
  const Real* used_variance() const { return own() ? variance : given_variance; }
};

// The places of as many pooled values among their pixels as a vector has lanes. In two steps: GCC converts bytes to
// numbers four times as wide one by one.
template <typename Real>
typename Vectors<Real>::Integers places_at(const uint8_t* place) {
  typedef Vectors<Real> V;
  const auto bytes = *reinterpret_cast<const typename V::Bytes*>(place);
  return __builtin_convertvector(__builtin_convertvector(bytes, typename V::Shorts), typename V::Integers);
}

// Adds two sums over pixels by channel, those that `term` gives for a pixel and the channels from c on. V vectors of
// channels at a time, so that memory is read in its order where there are no more.
template <typename Real, int V, typename Term>
void add_pairs_of(int64_t pixels, int64_t c, int64_t stride, double* sums, Term term) {
  constexpr int L = LANES<Real>;
  for (int64_t begin = 0; begin < pixels; begin += RUN) {
    typename Vectors<Real>::One first[V] = {}, second[V] = {};
    for (int64_t pixel = begin; pixel < std::min(begin + RUN, pixels); ++pixel)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) term(pixel, c + v * L, first[v], second[v]);
    for (int v = 0; v < V; ++v)
      for (int lane = 0; lane < L; ++lane) {
        sums[c + v * L + lane] += first[v][lane];
        sums[stride + c + v * L + lane] += second[v][lane];
      }
  }
}

template <typename Real, typename Term>
void add_pairs(int64_t pixels, int64_t stride, double* sums, Term term) {
  int64_t c = 0;
  for (; c + 2 * LANES<Real> <= stride; c += 2 * LANES<Real>) add_pairs_of<Real, 2>(pixels, c, stride, sums, term);
  if (c < stride) add_pairs_of<Real, 1>(pixels, c, stride, sums, term);
}

// Sums of (x - reference) and its square over an image, by channel.
template <typename Real>
void add_moments(const Real* x, const Real* reference, int64_t pixels, int64_t stride, double* sums) {
  add_pairs<Real>(pixels, stride, sums, [&](int64_t pixel, int64_t c, auto& first, auto& second) {
    const auto difference = vector_at(x + pixel * stride + c) - vector_at(reference + c);
    first += difference;
    second += difference * difference;
  });
}

// Copies what lies at true strides to whole vectors, unless it is such already.
template <typename Real>
const Real* whole(const Layer<Real>& layer, const Real* values, Real* room) {
  return layer.filters == layer.stride() ? values : std::copy_n(values, layer.filters, room) - layer.filters;
}

// Sums over an image, by channel, of the gradient that passes pooling and ReLU, and of its product with
// (chosen - reference).
template <typename Real>
void add_passed(const Layer<Real>& layer, const Real* gradient, const Real* chosen, const uint8_t* place,
                const Real* reference, double* sums, Real* room) {
  const int64_t stride = layer.stride();
  add_pairs<Real>(layer.windows(), stride, sums, [&](int64_t window, int64_t c, auto& first, auto& second) {
    const typename Vectors<Real>::One nothing = {};
    const auto flowing = vector_at(whole(layer, gradient + window * layer.filters, room) + c);
    const int64_t at = window * stride + c;
    const auto passed = places_at<Real>(place + at) == PASSED_NOTHING ? nothing : flowing;
    first += passed;
    second += passed * (vector_at(chosen + at) - vector_at(reference + c));
  });
}

// out = pool(relu(x * scale + shift)) of an image, and what was chosen unless that is null.
template <typename Real>
void pool(const Layer<Real>& layer, const Real* x, const Real* scale, const Real* shift, Real* out, Real* chosen,
          uint8_t* place, Real* room) {
  typedef typename Vectors<Real>::One Vector;
  typedef typename Vectors<Real>::Integers Integers;
  const int64_t stride = layer.stride();
  const Vector nothing = {};
  const Integers zero = {};
  for (int64_t row = 0; row < layer.height / 2; ++row)
    for (int64_t column = 0; column < layer.width / 2; ++column) {
      const Real* top = x + (2 * row * layer.width + 2 * column) * stride;
      Real* to = layer.filters == stride ? out : room;
      for (int64_t c = 0; c < stride; c += LANES<Real>, top += LANES<Real>) {
        const Real* bottom = top + layer.width * stride;
        const Vector raw[4] = {vector_at(top), vector_at(top + stride), vector_at(bottom), vector_at(bottom + stride)};
        const Vector by = vector_at(scale + c), plus = vector_at(shift + c);
        const Vector first = raw[0] * by + plus, second = raw[1] * by + plus;
        const Vector third = raw[2] * by + plus, fourth = raw[3] * by + plus;
        const Vector upper = second > first ? second : first, lower = fourth > third ? fourth : third;
        const Vector best = lower > upper ? lower : upper, sum = (first + second) + (third + fourth);
        // A NaN wins, as in PyTorch; the sum of opposite infinities is one, too.
        vector_at(to + c) = sum != sum ? sum : (best > nothing ? best : nothing);
        if (!chosen) continue;
        const Integers is_first = first == best, is_second = second == best, is_third = third == best;
        const Integers at = is_first ? zero : is_second ? zero + 1 : is_third ? zero + 2 : zero + 3;
        const Integers places = best > nothing ? at : zero + PASSED_NOTHING;
        vector_at(chosen + c) = is_first ? raw[0] : is_second ? raw[1] : is_third ? raw[2] : raw[3];
        *reinterpret_cast<typename Vectors<Real>::Bytes*>(place + c) =
            __builtin_convertvector(places, typename Vectors<Real>::Bytes);
      }
      if (to == room) std::copy_n(room, layer.filters, out);
      out += layer.filters;
      if (!chosen) continue;
      chosen += stride;
      place += stride;
    }
}

// What a gradient of a layer's output, or of its derivative, is by channel: what flows through pooling times `flows`,
// and an affine map of up to two activations.
template <typename Real>
struct Affine {
  Buffer<Real> flows, first, second, constant;
  explicit Affine(int64_t stride) : flows(stride), first(stride), second(stride), constant(stride) {}
};

// Writes the inside of a bordered gradient; activation x or y is null where it has no part.
template <typename Real>
void scatter(const Layer<Real>& layer, const Affine<Real>& map, const Real* gradient, const uint8_t* place,
             const Real* x, const Real* y, Real* bordered, Real* room) {
  typedef typename Vectors<Real>::One Vector;
  const int64_t stride = layer.stride(), rows = layer.height / 2, columns = layer.width / 2;
  const Real *flows = map.flows, *first = map.first, *second = map.second, *constant = map.constant;
  const auto put = [&](int64_t row, int64_t column, int64_t c, Vector passed) {
    const int64_t at = (row * layer.width + column) * stride + c;
    Vector sum = vector_at(constant + c);
    if (y) sum = vector_at(second + c) * vector_at(y + at) + sum;
    if (x) sum = vector_at(first + c) * vector_at(x + at) + sum;
    vector_at(bordered + ((row + 1) * (layer.width + 2) + column + 1) * stride + c) = passed + sum;
  };
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column, gradient += layer.filters, place += stride) {
      const Real* from = whole(layer, gradient, room);
      for (int64_t c = 0; c < stride; c += LANES<Real>) {
        const Vector flowing = vector_at(from + c) * vector_at(flows + c), nothing = {};
        const auto here = places_at<Real>(place + c);
        for (int k = 0; k < 4; ++k) put(2 * row + k / 2, 2 * column + k % 2, c, here == k ? flowing : nothing);
      }
    }
  // Odd last rows and columns, which pooling leaves out.
  for (int64_t row = 0; row < layer.height; ++row)
    for (int64_t column = row < 2 * rows ? 2 * columns : 0; column < layer.width; ++column)
      for (int64_t c = 0; c < stride; c += LANES<Real>) put(row, column, c, Vector{});
}

// The sums of `add_passed` over all images, by channel (2, stride).
template <typename Real>
std::vector<double> passed_sums(const Arguments<Real>& a, const Layer<Real>& layer) {
  const int64_t size = 2 * layer.stride();
  if (!a.own() && !a.to_weight) return std::vector<double>(size);  // nothing depends on them
  Buffer<Real> reference(layer.stride());
  std::copy_n(a.used_mean(), layer.filters, static_cast<Real*>(reference));
  std::vector<double> each(layer.images * size), whole(size);
#pragma omp parallel num_threads(a.threads)
  {
    Buffer<Real> room(layer.stride());
#pragma omp for schedule(static)
    for (int64_t image = 0; image < layer.images; ++image) {
      const int64_t at = image * layer.windows() * layer.stride();
      add_passed<Real>(layer, a.to_values + image * layer.pooled(), a.chosen + at, a.place + at, reference,
                       each.data() + image * size, room);
    }
  }
  for (size_t at = 0; at < each.size(); ++at) whole[at % size] += each[at];
  return whole;
}

// Whether the gradient of the convolution's output is more than what flows through pooling.
template <typename Real>
bool depends_on_activation(const Arguments<Real>& a) {
  return a.own() || a.to_mean || a.to_variance;
}

// The gradient of the convolution's output x, out of the sums of what passed. Ioffe & Szegedy (2015), where the
// statistics are the batch's own: scale * (g - mean(g) - (x - mean) * deviation^2 * mean(g * (x - mean))).
template <typename Real>
void find_gradient_map(const Arguments<Real>& a, const Layer<Real>& layer, const std::vector<double>& sums,
                       Affine<Real>& map) {
  const double count = static_cast<double>(layer.count());
  for (int64_t c = 0; c < layer.filters; ++c) {
    const double deviation = 1 / std::sqrt(static_cast<double>(a.used_variance()[c]) + a.eps);
    const double scale = a.scale[c] * deviation;
    double slope = 0, offset = 0;
    if (a.own()) slope = -scale * deviation * deviation * sums[layer.stride() + c] / count;
    if (a.own()) offset = -scale * sums[c] / count - slope * a.mean[c];
    if (a.to_variance) slope += a.to_variance[c] * 2 / count;
    if (a.to_variance) offset -= a.to_variance[c] * 2 / count * a.mean[c];
    if (a.to_mean) offset += a.to_mean[c] / count;
    map.flows[c] = static_cast<Real>(scale);
    map.first[c] = static_cast<Real>(slope);
    map.constant[c] = static_cast<Real>(offset);
  }
}

}  // namespace purer
