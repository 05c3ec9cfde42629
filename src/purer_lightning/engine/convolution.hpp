// 3x3 convolutions of stride 1 and padding 1 of one image at a time, and their gradients, at the processor's peak.
//
// An image lies with the channels innermost and a border of zeros around it: (height + 2, width + 2, channels). So the
// three taps of a row are 3 * channels neighbouring numbers, and one loop runs over them, whatever the channels. Vectors
// run over the filters, of which there are `lying` in memory: as many as there are, and zeros up to whole vectors.
// A tile of pixels shares each vector of weights; its sums stay in registers.

#pragma once

#include "vectors.hpp"

namespace purer {

// Weights in memory as PyTorch has them, (filters, channels, 3, 3) with these strides.
struct Strides {
  int64_t filter, channel, row, column;
  int64_t of(int64_t f, int64_t c, int64_t i, int64_t j) const {
    return f * filter + c * channel + i * row + j * column;
  }
};

// Writes the inside of a bordered image, whose border is there already.
template <typename Real>
void put_inside(const Real* image, int64_t height, int64_t width, int64_t channels, Real* bordered) {
  for (int64_t y = 0; y < height; ++y)
    std::memcpy(bordered + ((y + 1) * (width + 2) + 1) * channels, image + y * width * channels,
                width * channels * sizeof(Real));
}

// ROWS x COLUMNS pixels of V vectors each: out = start + sum over rows of taps of in * weights; start is `first`, one
// vector for all pixels, or what out holds where that is null. `taps` follow one another in each row of `in`.
template <typename Real, int V, int COLUMNS, int ROWS>
inline void tile(const Real* in, int64_t pixel, int64_t in_row, int rows, int64_t taps, const Real* weights,
                 int64_t stride, const Real* first, Real* out, int64_t out_row) {
  typedef typename Vectors<Real>::One Vector;
  constexpr int L = LANES<Real>;
  Vector sums[ROWS * COLUMNS][V];
#pragma GCC unroll 8
  for (int q = 0; q < ROWS * COLUMNS; ++q)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const Real* start = first ? first : out + (q / COLUMNS) * out_row + (q % COLUMNS) * stride;
      sums[q][v] = reinterpret_cast<const Vector*>(start)[v];
    }
  for (int i = 0; i < rows; ++i, in += in_row)
    for (int64_t k = 0; k < taps; ++k, weights += stride) {
      Vector shared[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) shared[v] = *reinterpret_cast<const Vector*>(weights + v * L);
#pragma GCC unroll 8
      for (int q = 0; q < ROWS * COLUMNS; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v)
          sums[q][v] += in[(q / COLUMNS) * in_row + (q % COLUMNS) * pixel + k] * shared[v];
    }
#pragma GCC unroll 8
  for (int q = 0; q < ROWS * COLUMNS; ++q)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      reinterpret_cast<Vector*>(out + (q / COLUMNS) * out_row + (q % COLUMNS) * stride)[v] = sums[q][v];
}

// What a map from bordered images to images reads and writes, in numbers from one pixel or row to the next.
template <typename Real>
struct Grid {
  const Real* in;
  int64_t pixel, in_row;
  int rows;  // of taps
  int64_t taps;
  const Real* weights;  // by row, tap, filter
  int64_t stride;       // of a tap's filters, and of a pixel of out
  const Real* first;
  Real* out;
  int64_t out_row, height, width;
};

// Columns from `x` on, COLUMNS at a time, and those left over by narrower tiles of more rows.
template <typename Real, int V, int COLUMNS>
inline void strips(const Grid<Real>& g, int64_t x, int64_t filter) {
  constexpr int ROWS = TILE / COLUMNS;
  const Real* weights = g.weights + filter;
  const Real* first = g.first ? g.first + filter : nullptr;
  for (; x + COLUMNS <= g.width; x += COLUMNS) {
    const Real* in = g.in + x * g.pixel;
    Real* out = g.out + x * g.stride + filter;
    int64_t y = 0;
    for (; y + ROWS <= g.height; y += ROWS)
      tile<Real, V, COLUMNS, ROWS>(in + y * g.in_row, g.pixel, g.in_row, g.rows, g.taps, weights, g.stride, first,
                                   out + y * g.out_row, g.out_row);
    if constexpr (ROWS > 1)
      for (; y < g.height; ++y)
        tile<Real, V, COLUMNS, 1>(in + y * g.in_row, g.pixel, g.in_row, g.rows, g.taps, weights, g.stride, first,
                                  out + y * g.out_row, g.out_row);
  }
  if constexpr (COLUMNS > 1) strips<Real, V, COLUMNS / 2>(g, x, filter);
}

template <typename Real>
void map_grid(const Grid<Real>& g) {
  int64_t filter = 0;
  for (; filter + 2 * LANES<Real> <= g.stride; filter += 2 * LANES<Real>) strips<Real, 2, TILE>(g, 0, filter);
  if (filter < g.stride) strips<Real, 1, TILE>(g, 0, filter);
}

// The convolution of a bordered image of `channels`: out (height, width, filters), both lying. Adds to out where there
// is no bias.
template <typename Real>
void convolve(const Real* in, int64_t height, int64_t width, int64_t channels, const Real* weights, int64_t filters,
              const Real* bias, Real* out) {
  const int64_t row = (width + 2) * channels;
  map_grid<Real>({in, channels, row, 3, 3 * channels, weights, filters, bias, out, width * filters, height, width});
}

// One tile of the weights' gradient, K taps of V vectors, summed over an image.
template <typename Real, int V>
inline void tile_of_weights(const Real* in, int64_t pixel, int64_t in_row, const Real* gradient, int64_t filters,
                            int64_t gradient_row, int64_t height, int64_t width, Real* out) {
  typedef typename Vectors<Real>::One Vector;
  Vector sums[PARTS][V];
#pragma GCC unroll 12
  for (int k = 0; k < PARTS; ++k)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sums[k][v] = reinterpret_cast<const Vector*>(out + k * filters)[v];
  for (int64_t y = 0; y < height; ++y) {
    const Real* own = in + y * in_row;
    const Real* flows = gradient + y * gradient_row;
    for (int64_t x = 0; x < width; ++x, own += pixel, flows += filters) {
      Vector shared[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) shared[v] = reinterpret_cast<const Vector*>(flows)[v];
#pragma GCC unroll 12
      for (int k = 0; k < PARTS; ++k)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sums[k][v] += own[k] * shared[v];
    }
  }
#pragma GCC unroll 12
  for (int k = 0; k < PARTS; ++k)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) reinterpret_cast<Vector*>(out + k * filters)[v] = sums[k][v];
}

// Taps of a row in the weights' gradient: whole tiles of them; what is beyond 3 * channels means nothing.
inline int64_t taps_of(int64_t channels) { return rounded_up(3 * channels, PARTS); }

// Adds the gradient with respect to the weights, (3, taps_of(channels), filters), of a bordered image and a bordered
// gradient of the convolution's output.
template <typename Real>
void correlate(const Real* in, int64_t height, int64_t width, int64_t channels, const Real* gradient, int64_t filters,
               Real* out) {
  constexpr int L = LANES<Real>;
  const int64_t row = (width + 2) * channels, gradient_row = (width + 2) * filters, taps = taps_of(channels);
  gradient += gradient_row + filters;  // its first pixel inside
  for (int i = 0; i < 3; ++i)
    for (int64_t k = 0; k < taps; k += PARTS) {
      const Real* at = in + i * row + k;
      Real* to = out + (i * taps + k) * filters;
      int64_t f = 0;
      for (; f + 2 * L <= filters; f += 2 * L)
        tile_of_weights<Real, 2>(at, channels, row, gradient + f, filters, gradient_row, height, width, to + f);
      if (f < filters)
        tile_of_weights<Real, 1>(at, channels, row, gradient + f, filters, gradient_row, height, width, to + f);
    }
}

// Adds what a row of pixels sends to its three rows of taps. Neighbours overlap, so every third pixel is next: what has
// just been written is not read again at once.
template <typename Real, int TAPS>
void add_taps(const Real* parts, int64_t stride, int64_t width, int64_t row, Real* out) {
  for (int64_t begin = 0; begin < 3; ++begin)
    for (int64_t x = begin; x < width; x += 3)
      for (int i = 0; i < 3; ++i)
        for (int k = 0; k < TAPS; ++k) out[i * row + x * (TAPS / 3) + k] += parts[x * stride + i * TAPS + k];
}

// The gradient with respect to an image of up to four channels, added to a bordered one. As a convolution it would use a
// few lanes of each vector; so all nine taps' outputs of a pixel are computed side by side and then go where they belong.
// weights: by filter, then row, column, channel of the tap; `stride` of them a filter. parts: room for `width` pixels.
template <typename Real>
void spread(const Real* gradient, int64_t height, int64_t width, int64_t filters, const Real* weights, int64_t stride,
            const Real* zeros, int64_t channels, Real* parts, Real* out) {
  const int64_t row = (width + 2) * channels;
  const auto add = channels == 1   ? add_taps<Real, 3>
                   : channels == 2 ? add_taps<Real, 6>
                   : channels == 3 ? add_taps<Real, 9>
                                   : add_taps<Real, 12>;
  for (int64_t y = 0; y < height; ++y) {
    const Real* in = gradient + ((y + 1) * (width + 2) + 1) * filters;
    map_grid<Real>({in, filters, 0, 1, filters, weights, stride, zeros, parts, 0, 1, width});
    add(parts, stride, width, row, out + y * row);
  }
}

}  // namespace purer
