// A block's sizes, and its weights as the convolutions want them.

#pragma once

#include "convolution.hpp"

namespace purer {

constexpr int64_t SHARE = 4;  // images whose weights' gradients are summed before they meet those of others
constexpr int64_t FEW = 4;    // channels up to which the images' gradient is spread

// Sizes of a block's input and its filters.
template <typename Real>
struct Layer {
  int64_t images, height, width, channels, filters;
  Strides strides;  // of the convolution's weights

  int64_t stride() const { return lying<Real>(filters); }
  int64_t pixels() const { return height * width; }
  int64_t count() const { return images * pixels(); }
  int64_t input() const { return pixels() * channels; }
  int64_t output() const { return pixels() * stride(); }
  int64_t bordered(int64_t depth) const { return (height + 2) * (width + 2) * depth; }
  int64_t windows() const { return (height / 2) * (width / 2); }  // of pooling
  int64_t pooled() const { return windows() * filters; }
  int64_t shares() const { return (images + SHARE - 1) / SHARE; }
  int64_t of_weights() const { return 3 * taps_of(channels) * stride(); }
};

// Maps images to the layer's output.
template <typename Real>
struct Forward {
  const Layer<Real>& layer;
  bool adds;
  Buffer<Real> packed, start;

  // Starts from the bias, or adds to what there is where `adds`; what is null is zero.
  Forward(const Layer<Real>& given, const Real* weight, const Real* bias, bool adds)
      : layer(given), adds(adds), packed(9 * given.channels * given.stride()), start(given.stride()) {
    Real* to = packed;
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j)
        for (int64_t c = 0; c < layer.channels; ++c, to += layer.stride())
          for (int64_t f = 0; weight && f < layer.filters; ++f) to[f] = weight[layer.strides.of(f, c, i, j)];
    if (bias) std::copy(bias, bias + layer.filters, static_cast<Real*>(start));
  }
  // The bordered image lends its inside to the image.
  void run(const Real* image, Real* bordered, Real* out) const {
    put_inside(image, layer.height, layer.width, layer.channels, bordered);
    convolve<Real>(bordered, layer.height, layer.width, layer.channels, packed, layer.stride(),
                   adds ? nullptr : static_cast<const Real*>(start), out);
  }
};

// And to map a gradient of the output back to the image: as `convolve` wants them, or `spread` where channels are few.
template <typename Real>
struct Backward {
  const Layer<Real>& layer;
  bool few;
  int64_t stride;
  Buffer<Real> packed, zeros;

  Backward(const Layer<Real>& given, const Real* weight)
      : layer(given),
        few(given.channels <= FEW),
        stride(lying<Real>(few ? 9 * given.channels : given.channels)),
        packed((few ? 1 : 9) * given.stride() * stride),
        zeros(stride) {
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j)
        for (int64_t f = 0; f < layer.filters; ++f)
          for (int64_t c = 0; c < layer.channels; ++c) {
            const int64_t at = few ? f * stride + (3 * i + j) * layer.channels + c
                                   : ((3 * (2 - i) + 2 - j) * layer.stride() + f) * stride + c;
            packed[at] = weight[layer.strides.of(f, c, i, j)];
          }
  }
  // Numbers of one image's gradient, as `add` leaves it, and of the room that it works in.
  int64_t size() const { return few ? layer.bordered(layer.channels) : layer.pixels() * stride; }
  int64_t room() const { return few ? layer.width * stride : 0; }

  // Adds the gradient of an image, given the bordered one of the layer's output.
  void add(const Real* gradient, Real* room, Real* out) const {
    if (few)
      spread<Real>(gradient, layer.height, layer.width, layer.stride(), packed, stride, zeros, layer.channels, room, out);
    else
      convolve<Real>(gradient, layer.height, layer.width, layer.stride(), packed, stride, nullptr, out);
  }
  // Takes what `add` made to where the image's gradient belongs.
  void take(const Real* from, Real* image) const {
    const int64_t pixel = few ? layer.channels : stride, row = (few ? layer.width + 2 : layer.width) * pixel;
    if (few) from += row + pixel;
    const int64_t together = pixel == layer.channels ? layer.width : 1;  // pixels that lie side by side
    for (int64_t y = 0; y < layer.height; ++y)
      for (int64_t x = 0; x < layer.width; x += together, image += together * layer.channels)
        std::copy_n(from + y * row + x * pixel, together * layer.channels, image);
  }
};

// Adds up the shares' gradients of the weights in their order, and writes them where PyTorch has its own.
template <typename Real>
void unpack_weights(const Layer<Real>& layer, Real* shares, Real* out) {
  const int64_t size = layer.of_weights();
  for (int64_t share = 1; share < layer.shares(); ++share)
    for (int64_t k = 0; k < size; ++k) shares[k] += shares[share * size + k];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int64_t c = 0; c < layer.channels; ++c)
        for (int64_t f = 0; f < layer.filters; ++f)
          out[layer.strides.of(f, c, i, j)] =
              shares[(i * taps_of(layer.channels) + j * layer.channels + c) * layer.stride() + f];
}

}  // namespace purer
