// Layers with a state: the causal convolution, the selective scan of Mamba, and the scan of Mamba-2.

#include "instructions.h"

#include <algorithm>
#include <cmath>

#include "pieces.h"

namespace ouvert {

namespace {

constexpr float kLog2OfE = 1.44269504088896340736f;

// Where a layer's numbers of one sequence are kept, from the `from`-th on.
struct Kept {
  const Part& part;
  std::uint8_t* const* blocks;
  std::int64_t offset;

  Kept(Program& p, std::int64_t layer, std::int64_t number_of_part, std::int64_t from)
      : part(p.parts()[static_cast<std::size_t>(number_of_part)]),
        blocks(part.sequence->blocks(p.cache().group_of(layer))),
        offset(p.cache().offset_of(layer) + from * static_cast<std::int64_t>(sizeof(float))) {}

  // Those after the token at `position`; null if they are not kept.
  float* after(std::int64_t position) const {
    std::uint8_t* block = blocks[position / kBlockKeys];
    return block == nullptr ? nullptr : reinterpret_cast<float*>(block + offset);
  }
  // Those before the step; null if the sequence was empty.
  const float* before() const { return part.position == 0 ? nullptr : after(part.position - 1); }
  // Those after the step's t-th token, if they are to be written: at its end, and where a block ends that is kept.
  float* to_keep(std::int64_t t) const {
    const bool ends = t + 1 == part.tokens || (part.position + t + 1) % kBlockKeys == 0;
    return ends ? after(part.position + t) : nullptr;
  }
};

// Some channels of the tokens that one sequence has in a step.
struct Channels {
  Kept kept;
  const Part& part;
  std::int64_t begin, count, all;  // channels

  Channels(Program& p, std::int64_t layer, std::int64_t channels, std::uint32_t piece, std::int64_t from)
      : kept(p, layer, piece / parts(channels, kChannels), from),
        part(kept.part),
        begin(piece % static_cast<std::uint32_t>(parts(channels, kChannels)) * kChannels),
        count(std::min(kChannels, channels - begin)),
        all(channels) {}

  // Row `row` of these channels, out of all that is kept.
  template <typename Floats>
  Floats* row(Floats* of, std::int64_t row) const {
    return of + row * all + begin;
  }
};

std::uint32_t channel_pieces(const Program& p, std::int64_t channels) {
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(p.parts().size()) * parts(channels, kChannels));
}

// The Euclidean norm of `count` numbers that are `stride` apart.
float norm(const float* x, std::int64_t count, std::int64_t stride) {
  double squares = 0.0;
  for (std::int64_t i = 0; i < count; ++i) squares += static_cast<double>(x[i * stride]) * x[i * stride];
  return static_cast<float>(std::sqrt(squares));
}

// Numbers that a layer keeps of a sequence.
std::int64_t floats_of(Program& p, std::int64_t layer) {
  return p.cache().layers()[static_cast<std::size_t>(layer)].head_dim;
}

}  // namespace

std::uint32_t Convolve::pieces(Program& p) noexcept { return channel_pieces(p, x_.width); }
void Convolve::run(Program& p, std::uint32_t piece, int) noexcept {
  const Channels of(p, layer_, x_.width, piece, 0);
  const std::int64_t kept = taps() - 1;
  float before[kMostTaps][kChannels] = {};  // a copy: its place may be written to on the way
  if (const float* all = of.kept.before())
    for (std::int64_t k = 0; k < kept; ++k) std::copy(of.row(all, k), of.row(all, k) + of.count, before[k]);
  const auto input = [&](std::int64_t t) -> const float* {
    return t < 0 ? before[kept + t] : p.at(x_) + (of.part.first + t) * x_.width + of.begin;
  };
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const float* rows[kMostTaps];
    for (std::int64_t tap = 0; tap <= kept; ++tap) rows[tap] = input(t + tap - kept);
    p.row.convolve(rows, kept + 1, weight_.data() + of.begin, of.all, bias_.data() + of.begin,
                   p.at(out_) + (of.part.first + t) * out_.width + of.begin, of.count);
    float* to = of.kept.to_keep(t);
    if (to == nullptr) continue;
    for (std::int64_t k = 0; k < kept; ++k) {
      const float* from = input(t + 1 + k - kept);
      std::copy(from, from + of.count, of.row(to, k));
    }
  }
}

SelectiveScan::SelectiveScan(std::int64_t layer, ScanInputs inputs, std::vector<float> A, std::vector<float> D,
                             Value out, Value norms)
    : layer_(layer), in_(inputs), A_(std::move(A)), D_(std::move(D)), out_(out), norms_(norms) {
  for (float& each : A_) each *= kLog2OfE;
}

std::uint32_t SelectiveScan::pieces(Program& p) noexcept { return channel_pieces(p, in_.x.width); }
void SelectiveScan::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const std::int64_t inputs = floats_of(p, layer_) - states() * in_.x.width;
  const Channels of(p, layer_, in_.x.width, piece, inputs);
  float* state = p.scratch(thread);  // [states][kChannels]
  const float* all = of.kept.before();
  for (std::int64_t s = 0; s < states(); ++s)
    for (std::int64_t i = 0; i < of.count; ++i)
      state[s * kChannels + i] = all == nullptr ? 0.0f : of.row(all, s)[i];
  const ScanParameters parameters{.A = A_.data() + of.begin, .stride = of.all, .D = D_.data() + of.begin,
                                  .states = states()};
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const std::int64_t row = of.part.first + t;
    const ScanToken token{.x = p.at(in_.x) + row * in_.x.width + of.begin,
                          .dt = p.at(in_.dt) + row * in_.dt.width + of.begin,
                          .B = p.at(in_.B) + row * in_.B.width,
                          .C = p.at(in_.C) + row * in_.C.width};
    p.row.selective_scan(parameters, token, state, kChannels, p.at(out_) + row * out_.width + of.begin, of.count);
    if (norms_.width > 0)
      for (std::int64_t i = 0; i < of.count; ++i)
        p.at(norms_)[row * norms_.width + of.begin + i] = norm(state + i, states(), kChannels);
    float* to = of.kept.to_keep(t);
    if (to == nullptr) continue;
    for (std::int64_t s = 0; s < states(); ++s)
      std::copy(state + s * kChannels, state + s * kChannels + of.count, of.row(to, s));
  }
}

SsdScan::SsdScan(std::int64_t layer, Value xBC, Value dt, std::vector<float> A, std::vector<float> D, SsdSizes sizes,
                 Value out, Value norms)
    : layer_(layer), xBC_(xBC), dt_(dt), A_(std::move(A)), D_(std::move(D)), sizes_(sizes), out_(out), norms_(norms) {
  for (float& each : A_) each *= kLog2OfE;
}

namespace {

// A head's tokens up to the end of a block, gathered from rows that are far apart, and a state that is not kept.
struct SsdScratch {
  float *state, *x, *y, *B, *C, *dt, *delta, *decay;

  SsdScratch(float* at, const SsdSizes& of)
      : state(at),
        x(state + of.states * of.head_dim),
        y(x + kBlockKeys * of.head_dim),
        B(y + kBlockKeys * of.head_dim),
        C(B + kBlockKeys * of.states),
        dt(C + kBlockKeys * of.states),
        delta(dt + kBlockKeys),
        decay(delta + kBlockKeys) {}
  static std::int64_t floats(const SsdSizes& of) {
    return of.states * of.head_dim + kBlockKeys * (2 * of.head_dim + 2 * of.states + 3);
  }
};

}  // namespace

std::int64_t SsdScan::scratch_floats() const { return SsdScratch::floats(sizes_); }
std::uint32_t SsdScan::pieces(Program& p) noexcept {
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(p.parts().size()) * heads());
}
void SsdScan::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const std::int64_t head = piece % heads(), states = sizes_.states, head_dim = sizes_.head_dim;
  const std::int64_t in_state = floats_of(p, layer_) - (heads() - head) * states * head_dim;
  const Kept kept(p, layer_, piece / heads(), in_state);
  const SsdScratch scratch(p.scratch(thread), sizes_);
  const std::int64_t group = head / (heads() / sizes_.groups);
  const std::int64_t to_B = out_.width + group * states, to_C = to_B + sizes_.groups * states;
  const float* from = kept.before();
  for (std::int64_t first = 0, count = 0; first < kept.part.tokens; first += count) {
    count = norms_.width > 0 ? 1
                             : std::min(kept.part.tokens - first, kBlockKeys - (kept.part.position + first) % kBlockKeys);
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t row = kept.part.first + first + t;
      const float* xBC = p.at(xBC_) + row * xBC_.width;
      std::copy_n(xBC + head * head_dim, head_dim, scratch.x + t * head_dim);
      std::copy_n(xBC + to_B, states, scratch.B + t * states);
      std::copy_n(xBC + to_C, states, scratch.C + t * states);
      scratch.dt[t] = p.at(dt_)[row * dt_.width + head];
    }
    const auto n = static_cast<std::size_t>(head);
    p.row.ssd_steps(scratch.dt, A_[n], sizes_.low, sizes_.high, scratch.delta, scratch.decay, count);
    float* to = kept.to_keep(first + count - 1);
    if (to == nullptr) to = scratch.state;
    const SsdTokens tokens{.x = scratch.x, .B = scratch.B, .C = scratch.C, .delta = scratch.delta,
                           .decay = scratch.decay, .tokens = count, .states = states, .head_dim = head_dim,
                           .D = D_[n]};
    p.row.ssd_scan(tokens, from, to, scratch.y);
    from = to;
    if (norms_.width > 0)
      p.at(norms_)[(kept.part.first + first) * norms_.width + head] = norm(to, states * head_dim, 1);
    for (std::int64_t t = 0; t < count; ++t)
      std::copy_n(scratch.y + t * head_dim, head_dim,
                  p.at(out_) + (kept.part.first + first + t) * out_.width + head * head_dim);
  }
}

}  // namespace ouvert
