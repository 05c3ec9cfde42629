// The gradient of a block's gradient.
//
// With z the convolution, s the normalised values and q the gradient that passes pooling and ReLU, which is linear once
// it is settled which pixels are chosen, `block_gradient` gives <dz, .> of z's derivative along any direction. Along the
// given one z moves by t = conv(along x, weight) + conv(x, along weight) + along bias, so that what is to be
// differentiated is <dz, t> + <q, along scale * (z - mean) * deviation + along shift>: linear in t, whose gradient is dz;
// linear in q, whose gradient is how s moves; and through z the map `again` below, which is affine in q, z and t by
// channel. The two maps of z's shape go back through the convolution.

#include <optional>

#include "block.hpp"

namespace purer {
namespace {

// Means over the batch, by channel; n is the normalised z, (z - mean) * deviation.
struct Means {
  double q, q_n, t, n_t, q_t;
  double own_t;  // of (z - the batch's own mean) * t
};

template <typename Real>
struct Second {
  const Arguments<Real>& a;
  const Layer<Real>& layer;
  Buffer<Real> z, t;
  std::vector<double> passed, moved;  // sums: those of `add_passed`; t, (z - own mean) * t and q * t
  Affine<Real> first, again;          // dz; the gradient through z
  std::vector<Real> slope, level;     // pooled values move by slope * t + again.flows * chosen + level

  Second(const Arguments<Real>& given, const Layer<Real>& sizes)
      : a(given),
        layer(sizes),
        z(given.convolved ? 0 : sizes.images * sizes.output()),
        t(sizes.images * sizes.output()),
        passed(passed_sums(given, sizes)),
        moved(3 * sizes.stride()),
        first(sizes.stride()),
        again(sizes.stride()),
        slope(sizes.stride()),
        level(sizes.stride()) {
    find_gradient_map(a, layer, passed, first);
  }

  const Real* activation(int64_t image) const {
    return (a.convolved ? a.convolved : static_cast<const Real*>(z)) + image * layer.output();
  }

  void find_directions() {
    std::optional<Forward<Real>> anew, along_x, along_weight;
    if (!a.convolved) anew.emplace(layer, a.weight, a.bias, false);
    along_weight.emplace(layer, a.along_weight, a.along_bias, false);
    if (a.along_x) along_x.emplace(layer, a.weight, nullptr, true);
    const int64_t size = 3 * layer.stride();
    std::vector<double> sums(layer.images * size);
    Buffer<Real> mean(layer.stride());
    if (a.mean) std::copy_n(a.mean, layer.filters, static_cast<Real*>(mean));
#pragma omp parallel num_threads(a.threads)
    {
      Buffer<Real> bordered(layer.bordered(layer.channels));
#pragma omp for schedule(static)
      for (int64_t image = 0; image < layer.images; ++image) {
        const Real* x = a.x + image * layer.input();
        Real* to = t + image * layer.output();
        if (anew) anew->run(x, bordered, z + image * layer.output());
        along_weight->run(x, bordered, to);
        if (along_x) along_x->run(a.along_x + image * layer.input(), bordered, to);
        add_moved(image, mean, sums.data() + image * size);
      }
    }
    for (size_t at = 0; at < sums.size(); ++at) moved[at % size] += sums[at];
  }

  // Sums over an image of t, (z - own mean) * t and q * t.
  void add_moved(int64_t image, const Real* mean, double* sums) const {
    const int64_t stride = layer.stride();
    const Real *along = t + image * layer.output(), *x = activation(image);
    add_pairs<Real>(layer.pixels(), stride, sums, [&](int64_t pixel, int64_t c, auto& first, auto& second) {
      const int64_t at = pixel * stride + c;
      first += vector_at(along + at);
      second += vector_at(along + at) * (vector_at(x + at) - vector_at(mean + c));
    });
    over_chosen(image, [&](int64_t pooled, int64_t pixel, int64_t, int64_t c) {
      sums[2 * stride + c] += static_cast<double>(a.to_values[pooled]) * along[pixel];
    });
  }

  // Calls with the places of every pooled value that came through ReLU, of the pixel it came from, and of what was
  // chosen.
  template <typename Visit>
  void over_chosen(int64_t image, Visit visit) const {
    const int64_t columns = layer.width / 2, stride = layer.stride();
    for (int64_t window = 0; window < layer.windows(); ++window)
      for (int64_t c = 0; c < layer.filters; ++c) {
        const int64_t chosen = (image * layer.windows() + window) * stride + c, from = a.place[chosen];
        if (from == PASSED_NOTHING) continue;
        const int64_t row = 2 * (window / columns) + from / 2, column = 2 * (window % columns) + from % 2;
        const int64_t pooled = image * layer.pooled() + window * layer.filters + c;
        visit(pooled, (row * layer.width + column) * stride + c, chosen, c);
      }
  }

  // What there is by channel: the two maps, the gradients of scale and of those of the statistics.
  void find_maps() {
    const int64_t stride = layer.stride();
    const double count = static_cast<double>(layer.count());
    for (int64_t c = 0; c < layer.filters; ++c) {
      const double deviation = 1 / std::sqrt(static_cast<double>(a.used_variance()[c]) + a.eps);
      const double mean_t = moved[c] / count, own_t = moved[stride + c] / count;
      const Means m = {passed[c] / count,      passed[stride + c] * deviation / count,
                       mean_t,                 own_t * deviation,
                       moved[2 * stride + c] / count, own_t};
      of_channel(c, m, deviation, count);
      if (a.again_mean) a.again_mean[c] = static_cast<Real>(m.t);
      if (a.again_variance) a.again_variance[c] = static_cast<Real>(2 * m.own_t);
    }
  }

  void of_channel(int64_t c, const Means& m, double deviation, double count) {
    const double along_scale = a.along_scale ? a.along_scale[c] : 0.0, mean = a.used_mean()[c];
    const double along_shift = a.along_shift ? a.along_shift[c] : 0.0, scale = a.scale[c] * deviation;
    double flows = along_scale * deviation, of_t = 0, of_n = 0, constant = 0;
    double moves = m.q_t;  // of n along t, times q
    if (a.own()) {
      const double curve = scale * deviation;
      moves -= m.q * m.t + m.q_n * m.n_t;
      flows -= curve * m.n_t;
      of_t = -curve * m.q_n;
      of_n = curve * (2 * m.q_n * m.n_t - moves) - along_scale * deviation * m.q_n;
      constant = curve * (m.n_t * m.q + m.q_n * m.t) - along_scale * deviation * m.q;
    }
    if (a.to_variance) of_t += 2 * a.to_variance[c] / count;
    if (a.to_variance) constant -= 2 * a.to_variance[c] * m.t / count;
    const double of_z = of_n * deviation;
    constant -= of_z * mean;
    again.flows[c] = static_cast<Real>(flows);
    again.first[c] = static_cast<Real>(of_z);
    again.second[c] = static_cast<Real>(of_t);
    again.constant[c] = static_cast<Real>(constant);
    slope[c] = static_cast<Real>(scale);
    level[c] = static_cast<Real>(along_shift - flows * mean - (a.own() ? scale * m.t : 0.0));
    a.to_scale[c] = static_cast<Real>(count * deviation * moves);
    const double mean_z = a.mean ? a.mean[c] : 0.0;
    a.to_bias[c] = static_cast<Real>(count * (flows * m.q + of_z * mean_z + of_t * m.t + constant));
  }

  void find_values() {
    std::fill_n(a.again_values, layer.images * layer.pooled(), Real(0));
#pragma omp parallel for schedule(static) num_threads(a.threads)
    for (int64_t image = 0; image < layer.images; ++image)
      over_chosen(image, [&](int64_t pooled, int64_t pixel, int64_t chosen, int64_t c) {
        const Real along = t[image * layer.output() + pixel];
        a.again_values[pooled] = slope[c] * along + (again.flows[c] * a.chosen[chosen] + level[c]);
      });
  }

  void find_gradients() {
    std::optional<Backward<Real>> backward, along;
    if (a.to_x) backward.emplace(layer, a.weight);
    if (a.to_x && a.along_weight) along.emplace(layer, a.along_weight);
    Buffer<Real> shares(layer.shares() * layer.of_weights());
#pragma omp parallel num_threads(a.threads)
    {
      Buffer<Real> whole(layer.stride()), bordered(layer.bordered(layer.channels)), gradient(layer.bordered(layer.stride()));
      Buffer<Real> to_image(backward ? backward->size() : 0), room(backward ? backward->room() : 0);
#pragma omp for schedule(static)
      for (int64_t share = 0; share < layer.shares(); ++share)
        for (int64_t image = share * SHARE; image < std::min((share + 1) * SHARE, layer.images); ++image) {
          Real* to = shares + share * layer.of_weights();
          std::fill_n(static_cast<Real*>(to_image), backward ? backward->size() : 0, Real(0));
          add_gradient(image, first, along, a.along_x, nullptr, bordered, gradient, to_image, room, to, whole);
          add_gradient(image, again, backward, a.x, t, bordered, gradient, to_image, room, to, whole);
          if (backward) backward->take(to_image, a.to_x + image * layer.input());
        }
    }
    unpack_weights<Real>(layer, shares, a.to_weight);
  }

  // Sends one map back: to the weights against these images, and to the image by these weights.
  void add_gradient(int64_t image, const Affine<Real>& map, const std::optional<Backward<Real>>& backward,
                    const Real* images, const Real* along, Real* bordered, Real* gradient, Real* to_image, Real* room,
                    Real* to_weight, Real* whole) const {
    scatter<Real>(layer, map, a.to_values + image * layer.pooled(), a.place + image * layer.windows() * layer.stride(),
                  activation(image), along ? along + image * layer.output() : nullptr, gradient, whole);
    if (images) {
      put_inside(images + image * layer.input(), layer.height, layer.width, layer.channels, bordered);
      correlate<Real>(bordered, layer.height, layer.width, layer.channels, gradient, layer.stride(), to_weight);
    }
    if (backward) backward->add(gradient, room, to_image);
  }
};

template <typename Real>
void block_second(const Arguments<Real>& a) {
  const Layer<Real> layer = a.layer();
  Second<Real> second(a, layer);
  second.find_directions();
  second.find_maps();
  second.find_values();
  second.find_gradients();
}

}  // namespace
}  // namespace purer

extern "C" void block_second_float32(const purer::Arguments<float>* a) { purer::block_second(*a); }
extern "C" void block_second_float64(const purer::Arguments<double>* a) { purer::block_second(*a); }
