#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <new>

namespace ouvert {

Buffer::~Buffer() { std::free(data_); }

void Buffer::grow(std::int64_t bytes) {
  if (bytes <= bytes_) return;
  bytes = (bytes + 63) / 64 * 64;
  auto* data = static_cast<std::uint8_t*>(std::aligned_alloc(64, static_cast<std::size_t>(bytes)));
  if (data == nullptr) throw std::bad_alloc();
  std::free(data_);
  data_ = data;
  bytes_ = bytes;
}

Common::Common(int threads, InstructionSet set, std::vector<LayerMemory> layers, CacheType type,
               std::int64_t kept_before_window)
    : set(set), cache(std::move(layers), type, kept_before_window), pool(threads) {
  for (int thread = 0; thread < pool.threads(); ++thread) scratch.push_back(std::make_unique<Buffer>());
}

Program::Program(std::shared_ptr<Common> common)
    : linear(linear_kernels(common->set)),
      row(row_kernels(common->set)),
      attention(attention_kernels(common->set)),
      common_(std::move(common)) {}

void Program::make_room(std::int64_t tokens) {
  if (tokens <= capacity_) return;
  tokens = (tokens + kTokenTile - 1) / kTokenTile * kTokenTile;
  arena_.grow(tokens * arena_per_token_);
  std::int64_t floats = 4 * kMostExperts;
  for (const LayerMemory& layer : cache().layers())
    if (!layer.state())
      floats = std::max(floats, attention_scratch(4 * kTileRows, layer.head_dim,
                                                  layer.latents() ? layer.kv_heads : layer.head_dim));
  for (const auto& instruction : instructions_) floats = std::max(floats, instruction->scratch_floats());
  for (auto& scratch : common_->scratch) scratch->grow(floats * 4);
  const auto count = static_cast<std::size_t>(tokens);
  positions_.reserve(count), part_of_.reserve(count), wanted_rows_.reserve(count), parts_.reserve(count);
  for (auto& instruction : instructions_) instruction->prepare(*this, tokens);
  capacity_ = tokens;
}

// Tells the instructions which rows adapters add to, if those are others than in the last step.
void Program::adapt(std::span<Sequence* const> sequences, std::span<const std::int64_t> counts,
                    std::span<const Wanted> wanted) {
  std::vector<AdaptedRows> adapted;
  std::size_t most = 0;
  for (const Sequence* sequence : sequences) most = std::max(most, sequence->adapters.size());
  for (std::size_t nth = 0; nth < most; ++nth) {
    const std::size_t before = adapted.size();
    std::int32_t token = 0, row = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const auto count = static_cast<std::int32_t>(counts[i]);
      const std::int32_t rows = wanted[i] == Wanted::all ? count : wanted[i] == Wanted::last && count > 0 ? 1 : 0;
      if (nth < sequences[i]->adapters.size()) {
        const auto& adapter = sequences[i]->adapters[nth];
        auto found = std::find_if(adapted.begin() + static_cast<std::ptrdiff_t>(before), adapted.end(),
                                  [&](const AdaptedRows& each) { return each.adapter == adapter; });
        if (found == adapted.end()) found = adapted.insert(found, AdaptedRows{adapter, {}, {}});
        for (std::int32_t t = 0; t < count; ++t) found->of_tokens.push_back(token + t);
        for (std::int32_t r = 0; r < rows; ++r) found->of_wanted.push_back(row + r);
      }
      token += count, row += rows;
    }
  }
  if (planned_ && adapted == adapted_) return;
  planned_ = false;
  adapted_ = std::move(adapted);
  std::int64_t floats = 0;
  for (const auto& instruction : instructions_) floats = std::max(floats, instruction->adapt(adapted_));
  low_rank_.grow(floats * 4);
  planned_ = true;
}

void Program::step(std::span<Sequence* const> sequences, std::span<const std::int64_t> counts,
                   std::span<const Wanted> wanted, std::span<const std::int32_t> ids, float* logits) {
  make_room(static_cast<std::int64_t>(ids.size()));
  adapt(sequences, counts, wanted);
  try {
    for (std::size_t i = 0; i < sequences.size(); ++i) sequences[i]->reserve(counts[i]);
  } catch (const std::bad_alloc&) {
    for (Sequence* sequence : sequences) sequence->release();
    throw;
  }
  for (Sequence* sequence : sequences) sequence->settle();

  tokens_ = static_cast<std::int64_t>(ids.size());
  ids_ = ids.data();
  logits_ = logits;
  parts_.clear(), positions_.clear(), part_of_.clear(), wanted_rows_.clear();
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t first = static_cast<std::int64_t>(positions_.size()), position = sequences[i]->length();
    if (counts[i] == 0) continue;
    for (std::int64_t t = 0; t < counts[i]; ++t) {
      if (wanted[i] == Wanted::all || (wanted[i] == Wanted::last && t + 1 == counts[i]))
        wanted_rows_.push_back(static_cast<std::int32_t>(first + t));
      positions_.push_back(position + t);
      part_of_.push_back(static_cast<std::int32_t>(parts_.size()));
    }
    const std::int64_t expanded = std::clamp<std::int64_t>(sequences[i]->expanded - position, 0, counts[i]);
    parts_.push_back({sequences[i], first, counts[i], position, expanded});
  }
  ++common_->step_number;
  if (tokens_ > 0) {
    under_way_ = nullptr;
    common_->pool.execute(*this, static_cast<std::uint32_t>(instructions_.size()));
    if (timed) note_time();
  }
  for (const Part& part : parts_) part.sequence->grew(part.tokens);
}

double Program::seconds_now() const noexcept {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  if (threads() == 1) {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
#endif
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Counts the time since the last call for the instruction that was under way.
void Program::note_time() noexcept {
  const double now = seconds_now();
  if (under_way_ != nullptr) {
    under_way_->seconds += now - since_;
    ++under_way_->runs;
  }
  since_ = now;
}

std::uint32_t Program::pieces(std::uint32_t instruction) noexcept {
  if (timed) {
    note_time();
    under_way_ = instructions_[instruction].get();
  }
  return instructions_[instruction]->pieces(*this);
}

std::uint32_t Program::after(std::uint32_t instruction) noexcept {
  const std::uint32_t back = instructions_[instruction]->back();
  return back == 0 ? instruction + 1 : instruction - back;
}

void Program::run(std::uint32_t instruction, std::uint32_t piece, int thread) noexcept {
  if (!empty) instructions_[instruction]->run(*this, piece, thread);
}

}  // namespace ouvert
