// A block and its gradient.

#include <optional>

#include "block.hpp"

namespace purer {
namespace {

// Mean and biased variance by channel from the sums of `add_moments`.
template <typename Real>
void conclude(const Layer<Real>& layer, const std::vector<double>& sums, const Real* reference, Real* mean,
              Real* variance) {
  const int64_t stride = layer.stride();
  const double count = static_cast<double>(layer.count());
  for (int64_t c = 0; c < layer.filters; ++c) {
    double first = 0, second = 0;
    for (int64_t image = 0; image < layer.images; ++image) {
      first += sums[image * 2 * stride + c];
      second += sums[image * 2 * stride + stride + c];
    }
    mean[c] = static_cast<Real>(reference[c] + first / count);
    variance[c] = static_cast<Real>(second / count - (first / count) * (first / count));
  }
}

// A pass over the images: convolves those that no earlier pass has kept, then sums their moments or pools them.
template <typename Real>
class Passes {
 public:
  Passes(const Arguments<Real>& given, const Layer<Real>& sizes)
      : a(given),
        layer(sizes),
        convolution(sizes, given.weight, given.bias, false),
        reference(sizes.stride()),
        scale(sizes.stride()),
        shift(sizes.stride()) {}

  // So few digits cancel: moments are those of the difference from the first image's mean.
  void find_statistics() {
    std::vector<double> first(2 * layer.stride());
    Buffer<Real> bordered(layer.bordered(layer.channels)), output(a.convolved ? 0 : layer.output());
    const Real* x = convolved(0, bordered, output, false);
    add_moments<Real>(x, reference, layer.pixels(), layer.stride(), first.data());
    for (int64_t c = 0; c < layer.stride(); ++c) reference[c] = static_cast<Real>(first[c] / layer.pixels());
    over_images(true, false, false);
    conclude<Real>(layer, sums, reference, a.mean, a.variance);
  }

  void find_values() {
    for (int64_t c = 0; c < layer.filters; ++c) {
      scale[c] = a.scale[c] / std::sqrt(a.used_variance()[c] + static_cast<Real>(a.eps));
      shift[c] = a.shift[c] - a.used_mean()[c] * scale[c];
    }
    const bool on_the_way = !a.own() && a.mean;
    if (on_the_way) std::copy(a.given_mean, a.given_mean + layer.filters, static_cast<Real*>(reference));
    over_images(on_the_way, true, a.own() && a.convolved);
    if (on_the_way) conclude<Real>(layer, sums, reference, a.mean, a.variance);
  }

 private:
  void over_images(bool moments, bool values, bool kept) {
    sums.assign(moments ? layer.images * 2 * layer.stride() : 0, 0.0);
#pragma omp parallel num_threads(a.threads)
    {
      Buffer<Real> room(layer.stride()), bordered(layer.bordered(layer.channels)), output(a.convolved ? 0 : layer.output());
#pragma omp for schedule(static)
      for (int64_t image = 0; image < layer.images; ++image) {
        const Real* x = convolved(image, bordered, output, kept);
        double* own = moments ? sums.data() + image * 2 * layer.stride() : nullptr;
        if (moments) add_moments<Real>(x, reference, layer.pixels(), layer.stride(), own);
        const int64_t at = image * layer.windows() * layer.stride();
        if (values)
          pool<Real>(layer, x, scale, shift, a.values + image * layer.pooled(), a.chosen ? a.chosen + at : nullptr,
                     a.place + at, room);
      }
    }
  }

  const Real* convolved(int64_t image, Real* bordered, Real* output, bool kept) const {
    Real* to = a.convolved ? a.convolved + image * layer.output() : output;
    if (!kept) convolution.run(a.x + image * layer.input(), bordered, to);
    return to;
  }

  const Arguments<Real>& a;
  const Layer<Real>& layer;
  Forward<Real> convolution;
  Buffer<Real> reference, scale, shift;
  std::vector<double> sums;
};

template <typename Real>
void block(const Arguments<Real>& a) {
  const Layer<Real> layer = a.layer();
  Passes<Real> passes(a, layer);
  if (a.own()) passes.find_statistics();
  passes.find_values();
}

// The gradient of `block`, given those of the pooled values and, where not null, of the batch's mean and variance.
template <typename Real>
void block_gradient(const Arguments<Real>& a) {
  const Layer<Real> layer = a.layer();
  const std::vector<double> sums = passed_sums(a, layer);
  Affine<Real> map(layer.stride());
  find_gradient_map(a, layer, sums, map);
  const int64_t filters = layer.filters;
  for (int64_t c = 0; a.to_weight && c < filters; ++c) {
    const double deviation = 1 / std::sqrt(static_cast<double>(a.used_variance()[c]) + a.eps);
    a.to_scale[c] = static_cast<Real>(sums[layer.stride() + c] * deviation);
    a.to_shift[c] = static_cast<Real>(sums[c]);
    const double mean = a.mean ? a.mean[c] : 0.0;
    a.to_bias[c] = static_cast<Real>(map.flows[c] * sums[c] + layer.count() * (map.first[c] * mean + map.constant[c]));
  }
  if (!a.to_x && !a.to_weight) return;

  const bool activation = depends_on_activation(a);
  std::optional<Forward<Real>> forward;
  std::optional<Backward<Real>> backward;
  if (activation && !a.convolved) forward.emplace(layer, a.weight, a.bias, false);
  if (a.to_x) backward.emplace(layer, a.weight);
  Buffer<Real> shares(a.to_weight ? layer.shares() * layer.of_weights() : 0);
#pragma omp parallel num_threads(a.threads)
  {
    Buffer<Real> whole(layer.stride()), bordered(layer.bordered(layer.channels)), gradient(layer.bordered(layer.stride()));
    Buffer<Real> output(forward ? layer.output() : 0);
    Buffer<Real> image_gradient(backward ? backward->size() : 0), room(backward ? backward->room() : 0);
#pragma omp for schedule(static)
    for (int64_t share = 0; share < layer.shares(); ++share)
      for (int64_t image = share * SHARE; image < std::min((share + 1) * SHARE, layer.images); ++image) {
        const Real* own = a.x + image * layer.input();
        const Real* x = activation && a.convolved ? a.convolved + image * layer.output() : nullptr;
        if (forward) forward->run(own, bordered, output), x = output;
        scatter<Real>(layer, map, a.to_values + image * layer.pooled(),
                      a.place + image * layer.windows() * layer.stride(), x, nullptr, gradient, whole);
        if (a.to_weight) {
          if (!forward) put_inside(own, layer.height, layer.width, layer.channels, static_cast<Real*>(bordered));
          correlate<Real>(bordered, layer.height, layer.width, layer.channels, gradient, layer.stride(),
                          shares + share * layer.of_weights());
        }
        if (!backward) continue;
        std::fill_n(static_cast<Real*>(image_gradient), backward->size(), Real(0));
        backward->add(gradient, room, image_gradient);
        backward->take(image_gradient, a.to_x + image * layer.input());
      }
  }
  if (a.to_weight) unpack_weights<Real>(layer, shares, a.to_weight);
}

}  // namespace
}  // namespace purer

extern "C" void block_float32(const purer::Arguments<float>* a) { purer::block(*a); }
extern "C" void block_float64(const purer::Arguments<double>* a) { purer::block(*a); }
extern "C" void block_gradient_float32(const purer::Arguments<float>* a) { purer::block_gradient(*a); }
extern "C" void block_gradient_float64(const purer::Arguments<double>* a) { purer::block_gradient(*a); }
extern "C" int64_t arguments_size() { return sizeof(purer::Arguments<float>); }
