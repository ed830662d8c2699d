// Layers with a state: the causal convolution and the selective scan of Mamba.

#include "instructions.h"

#include <algorithm>

#include "pieces.h"

namespace ouvert {

namespace {

// Some channels of the tokens that one sequence has in a step, and where its state is kept.
struct Channels {
  const Part& part;
  std::int64_t begin, count, all;  // channels
  std::uint8_t* const* blocks;
  std::int64_t offset;

  Channels(Program& p, std::int64_t layer, std::int64_t channels, std::uint32_t piece)
      : part(p.parts()[piece / static_cast<std::uint32_t>(parts(channels, kChannels))]),
        begin(piece % static_cast<std::uint32_t>(parts(channels, kChannels)) * kChannels),
        count(std::min(kChannels, channels - begin)),
        all(channels),
        blocks(part.sequence->blocks(p.cache().group_of(layer))),
        offset(p.cache().offset_of(layer)) {}

  // Row `row` of the state of these channels before the step; null if the sequence was empty.
  const float* before(std::int64_t row) const {
    return part.position == 0 ? nullptr : at(part.position - 1, row);
  }
  float* at(std::int64_t position, std::int64_t row) const {
    return reinterpret_cast<float*>(blocks[position / kBlockKeys] + offset) + row * all + begin;
  }
  // Whether the state after the step's t-th token is kept.
  bool keeps(std::int64_t t) const { return t + 1 == part.tokens || (part.position + t + 1) % kBlockKeys == 0; }
};

std::uint32_t channel_pieces(const Program& p, std::int64_t channels) {
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(p.parts().size()) * parts(channels, kChannels));
}

}  // namespace

std::uint32_t Convolve::pieces(Program& p) noexcept { return channel_pieces(p, x_.width); }
void Convolve::run(Program& p, std::uint32_t piece, int) noexcept {
  const Channels of(p, layer_, x_.width, piece);
  const std::int64_t kept = taps() - 1;
  float before[kMostTaps][kChannels] = {};  // a copy: its place may be written to on the way
  for (std::int64_t k = 0; k < kept; ++k)
    if (const float* from = of.before(k)) std::copy(from, from + of.count, before[k]);
  const auto input = [&](std::int64_t t) -> const float* {
    return t < 0 ? before[kept + t] : p.at(x_) + (of.part.first + t) * x_.width + of.begin;
  };
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const float* rows[kMostTaps];
    for (std::int64_t tap = 0; tap <= kept; ++tap) rows[tap] = input(t + tap - kept);
    p.row.convolve(rows, kept + 1, weight_.data() + of.begin, of.all, bias_.data() + of.begin,
                   p.at(out_) + (of.part.first + t) * out_.width + of.begin, of.count);
    if (!of.keeps(t)) continue;
    for (std::int64_t k = 0; k < kept; ++k) {
      const float* from = input(t + 1 + k - kept);
      std::copy(from, from + of.count, of.at(of.part.position + t, k));
    }
  }
}

SelectiveScan::SelectiveScan(std::int64_t layer, ScanInputs inputs, std::vector<float> A, std::vector<float> D,
                             Value out)
    : layer_(layer), in_(inputs), A_(std::move(A)), D_(std::move(D)), out_(out) {
  constexpr float kLog2OfE = 1.44269504088896340736f;
  for (float& each : A_) each *= kLog2OfE;
}

std::uint32_t SelectiveScan::pieces(Program& p) noexcept { return channel_pieces(p, in_.x.width); }
void SelectiveScan::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const Channels of(p, layer_, in_.x.width, piece);
  const std::int64_t inputs = p.cache().layers()[static_cast<std::size_t>(layer_)].head_dim - states();
  float* state = p.scratch(thread);  // [states][kChannels]
  for (std::int64_t s = 0; s < states(); ++s) {
    const float* from = of.before(inputs + s);
    for (std::int64_t i = 0; i < of.count; ++i) state[s * kChannels + i] = from == nullptr ? 0.0f : from[i];
  }
  const ScanParameters parameters{.A = A_.data() + of.begin, .stride = of.all, .D = D_.data() + of.begin,
                                  .states = states()};
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const std::int64_t row = of.part.first + t;
    const ScanToken token{.x = p.at(in_.x) + row * in_.x.width + of.begin,
                          .dt = p.at(in_.dt) + row * in_.dt.width + of.begin,
                          .B = p.at(in_.B) + row * in_.B.width,
                          .C = p.at(in_.C) + row * in_.C.width};
    p.row.selective_scan(parameters, token, state, kChannels, p.at(out_) + row * out_.width + of.begin, of.count);
    if (!of.keeps(t)) continue;
    for (std::int64_t s = 0; s < states(); ++s)
      std::copy(state + s * kChannels, state + s * kChannels + of.count, of.at(of.part.position + t, inputs + s));
  }
}

}  // namespace ouvert
