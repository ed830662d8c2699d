#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace ouvert {
namespace {

constexpr double kLog2OfE = 1.4426950408889634;
constexpr float kFinite = std::numeric_limits<float>::max();

// A nucleus of up to so many tokens is found among the likeliest; a larger one by counting all tokens.
constexpr std::int64_t kFewTokens = 256;

struct Candidate {
  float logit;
  std::int64_t id;
  std::int64_t share = 0;
};

// How many tokens of a row are on one step, and their shares together.
struct Step {
  std::int64_t tokens = 0;
  std::uint64_t shares = 0;
};

bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// The smallest whole number of shares that is the part top_p of them.
std::uint64_t part(double top_p, std::uint64_t total) {
  return std::min(total, static_cast<std::uint64_t>(std::ceil(top_p * static_cast<double>(total))));
}

// One of 0 .. total - 1, each as likely as the others.
std::uint64_t aim(std::uint64_t draw, std::uint64_t total) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(draw) * total >> 64);
}

// One row of logits, and the distribution that it stands for.
class Row {
 public:
  Row(const SamplingKernels& kernels, const float* logits, std::int64_t tokens)
      : kernels_(kernels), logits_(logits), words_(tokens),
        tops_(static_cast<std::size_t>((tokens + kTokenBlock - 1) / kTokenBlock)), sums_(tops_.size()) {
    finite_ = kernels_.block_maxima(logits, tokens, tops_.data());
    largest_ = *std::max_element(tops_.begin(), tops_.end());
  }

  // How many logits are NaN or infinite. If any is, no other function may be called.
  std::int64_t broken() const {
    if (finite_) return 0;
    return std::count_if(logits_, logits_ + words_, [](float logit) { return !(std::abs(logit) <= kFinite); });
  }

  float largest() const { return largest_; }

  std::int64_t likeliest() const {
    const auto block = std::find(tops_.begin(), tops_.end(), largest_) - tops_.begin();
    return std::find(logits_ + block * kTokenBlock, logits_ + words_, largest_) - logits_;
  }

  // The `count` likeliest tokens become the candidates, likeliest first.
  const std::vector<Candidate>& best(std::int64_t count) {
    count = std::min(count, words_);
    float bar = Bar{}.logit;
    if (count > 0 && count <= blocks()) {
      // `count` blocks hold a token that is as likely as this, so whatever is less likely is not among the best.
      sorted_tops_ = tops_;
      std::nth_element(sorted_tops_.begin(), sorted_tops_.begin() + (count - 1), sorted_tops_.end(), std::greater<>());
      bar = sorted_tops_[static_cast<std::size_t>(count - 1)];
    }
    found_.clear();
    for (std::int64_t b = 0; b < blocks(); ++b)
      if (tops_[static_cast<std::size_t>(b)] >= bar)
        for (std::int64_t i = b * kTokenBlock; i < std::min(words_, (b + 1) * kTokenBlock); ++i)
          if (logits_[i] >= bar) found_.push_back({logits_[i], i});
    if (count < static_cast<std::int64_t>(found_.size())) {
      std::nth_element(found_.begin(), found_.begin() + count, found_.end(), likelier);
      found_.resize(static_cast<std::size_t>(count));
    }
    std::sort(found_.begin(), found_.end(), likelier);
    return found_;
  }

  // The sum of all shares that the bar lets through.
  std::uint64_t total(double scale, const Bar& bar) {
    const bool all = bar.logit == Bar{}.logit && bar.least == 0;
    if (!all || scale != summed_) kernels_.block_sums(logits_, words_, tops_.data(), curve(scale), bar, sums_.data());
    summed_ = all ? scale : 0;  // a draw at temperature 1 needs what log-probabilities are made of
    std::uint64_t total = 0;
    for (const std::uint64_t sum : sums_) total += sum;
    return total;
  }

  std::int64_t choose(const Ask& ask) {
    if (ask.scale < 0) return likeliest();
    const std::int64_t count = ask.top_k > 0 ? std::min(ask.top_k, words_) : words_;
    if (count <= blocks() / 2) {
      best(count);
      const std::uint64_t all = give_shares(ask.scale);
      return choose_among(ask.top_p < 1 ? prefix(part(ask.top_p, all)) : found_.size(), ask);
    }
    if (ask.top_p < 1 && count == words_) {
      const std::uint64_t wanted = part(ask.top_p, total(ask.scale, Bar{}));
      if (wanted <= static_cast<std::uint64_t>(kFewTokens) << kShareBits) {  // no token has a share above 1
        best(kFewTokens);
        if (give_shares(ask.scale) >= wanted) return choose_among(prefix(wanted), ask);
      }
    }
    const Bar bar = ask.top_p < 1 || count < words_ ? cut(ask, count) : Bar{.least = ask.least};
    return draw(ask, bar, total(ask.scale, bar));
  }

 private:
  std::int64_t blocks() const { return static_cast<std::int64_t>(tops_.size()); }
  Curve curve(double scale) const { return {static_cast<double>(largest_), scale}; }

  // Gives every candidate its share, and returns their sum.
  std::uint64_t give_shares(double scale) {
    std::vector<float> logits(found_.size());
    for (std::size_t i = 0; i < found_.size(); ++i) logits[i] = found_[i].logit;
    std::uint64_t sum = 0;
    for (std::size_t first = 0; first < found_.size(); first += kTokenBlock) {
      std::int64_t shares[kTokenBlock];
      kernels_.shares(logits.data(), static_cast<std::int64_t>(logits.size()),
                      static_cast<std::int64_t>(first) / kTokenBlock, curve(scale), Bar{}, shares);
      for (std::size_t i = first; i < std::min(found_.size(), first + kTokenBlock); ++i) {
        found_[i].share = shares[i - first];
        sum += static_cast<std::uint64_t>(found_[i].share);
      }
    }
    return sum;
  }

  // How many candidates, in order, are needed to have `wanted` shares together; all of them if they have fewer.
  std::size_t prefix(std::uint64_t wanted) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < found_.size(); ++i) {
      sum += static_cast<std::uint64_t>(found_[i].share);
      if (sum >= wanted) return i + 1;
    }
    return found_.size();
  }

  // Draws from the first `kept` candidates, in the order of their ids.
  std::int64_t choose_among(std::size_t kept, const Ask& ask) {
    found_.resize(kept);
    std::erase_if(found_, [&](const Candidate& one) { return one.share < ask.least; });
    std::sort(found_.begin(), found_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    std::uint64_t sum = 0;
    for (const Candidate& one : found_) sum += static_cast<std::uint64_t>(one.share);
    const std::uint64_t aimed = aim(ask.draw, sum);
    std::size_t i = 0;
    for (sum = 0; (sum += static_cast<std::uint64_t>(found_[i].share)) <= aimed;) ++i;
    return found_[i].id;
  }

  // Draws from all tokens that the bar lets through. total() was called last, with this bar.
  std::int64_t draw(const Ask& ask, const Bar& bar, std::uint64_t total) const {
    const std::uint64_t aimed = aim(ask.draw, total);
    std::uint64_t sum = 0;
    std::size_t block = 0;
    while (sum + sums_[block] <= aimed) sum += sums_[block++];
    std::int64_t shares[kTokenBlock];
    kernels_.shares(logits_, words_, static_cast<std::int64_t>(block), curve(ask.scale), bar, shares);
    std::int64_t i = 0;
    while ((sum += static_cast<std::uint64_t>(shares[i])) <= aimed) ++i;
    return static_cast<std::int64_t>(block) * kTokenBlock + i;
  }

  // The bar below the nucleus of the `count` likeliest tokens. Tokens and shares are counted by steps; only the tokens
  // of the step where the bar lies are sorted.
  Bar cut(const Ask& ask, std::int64_t count) {
    const std::vector<Step> steps = counted_steps(ask.scale);
    std::size_t last = 0;
    std::int64_t tokens = 0;
    std::uint64_t whole = 0;
    for (; tokens + steps[last].tokens < count; ++last) {
      tokens += steps[last].tokens;
      whole += steps[last].shares;
    }
    if (tokens + steps[last].tokens == count) {
      whole += steps[last].shares;
      if (ask.top_p >= 1) find(ask.scale, last);
    } else {
      find(ask.scale, last);
      found_.resize(static_cast<std::size_t>(count - tokens));
      for (const Candidate& one : found_) whole += static_cast<std::uint64_t>(one.share);
    }
    if (ask.top_p < 1) {
      const std::uint64_t wanted = part(ask.top_p, whole);
      std::uint64_t sum = 0;
      std::size_t step = 0;
      for (; step < last && sum + steps[step].shares < wanted; ++step) sum += steps[step].shares;
      if (step < last || tokens + steps[last].tokens == count) find(ask.scale, step);
      found_.resize(prefix(wanted - sum));
    }
    return {found_.back().logit, found_.back().id, ask.least};
  }

  // The tokens of one step become the candidates, likeliest first.
  void find(double scale, std::size_t wanted) {
    found_.clear();
    each_step(scale, [&](std::int64_t id, std::int32_t step, std::int64_t share) {
      if (step == static_cast<std::int32_t>(wanted)) found_.push_back({logits_[id], id, share});
    });
    if (!std::is_sorted(found_.begin(), found_.end(), likelier)) std::sort(found_.begin(), found_.end(), likelier);
  }

  std::vector<Step> counted_steps(double scale) const {
    std::vector<Step> steps(kShareSteps);
    each_step(scale, [&](std::int64_t, std::int32_t number, std::int64_t share) {
      Step& step = steps[static_cast<std::size_t>(number)];
      ++step.tokens;
      step.shares += static_cast<std::uint64_t>(share);
    });
    return steps;
  }

  template <typename F>
  void each_step(double scale, F&& f) const {
    for (std::int64_t b = 0; b < blocks(); ++b) {
      std::int32_t steps[kTokenBlock];
      std::int64_t shares[kTokenBlock];
      kernels_.steps(logits_, words_, b, curve(scale), steps, shares);
      const std::int64_t length = std::min(kTokenBlock, words_ - b * kTokenBlock);
      for (std::int64_t i = 0; i < length; ++i) f(b * kTokenBlock + i, steps[i], shares[i]);
    }
  }

  const SamplingKernels& kernels_;
  const float* logits_;
  std::int64_t words_;
  std::vector<float> tops_, sorted_tops_;
  std::vector<std::uint64_t> sums_;
  std::vector<Candidate> found_;
  bool finite_;
  float largest_;
  double summed_ = 0;  // the scale at which `sums_` has all shares, or 0
};

float narrow(double value) {
  return static_cast<float>(std::clamp(value, -static_cast<double>(kFinite), static_cast<double>(kFinite)));
}

// False if an id is outside the row.
bool change(std::vector<float>& logits, const Ask& ask, const Changes& changes) {
  const auto tokens = static_cast<std::uint64_t>(logits.size());
  for (std::int64_t i = 0; i < changes.biased_count; ++i) {
    const auto id = static_cast<std::uint64_t>(changes.biased[i]);
    if (id >= tokens) return false;
    logits[id] = narrow(static_cast<double>(logits[id]) + changes.bias[i]);
  }
  for (std::int64_t i = 0; i < changes.seen_count; ++i) {
    const auto id = static_cast<std::uint64_t>(changes.seen[i]);
    if (id >= tokens) return false;
    const double logit = static_cast<double>(logits[id]);
    const double weighed = static_cast<double>(narrow(logit > 0 ? logit / ask.repetition : logit * ask.repetition));
    logits[id] = narrow(weighed - ask.presence - ask.frequency * changes.times[i]);
  }
  return true;
}

void report_of(Row& row, std::int64_t top, Outcome& outcome, std::int64_t* likeliest) {
  outcome.total = row.total(kLog2OfE, Bar{});
  if (top > 0)
    for (const Candidate& one : row.best(top)) *likeliest++ = one.id;
}

}  // namespace

void report(const SamplingKernels& kernels, const float* logits, std::int64_t tokens, std::int64_t top,
            Outcome& outcome, std::int64_t* likeliest) {
  Row row(kernels, logits, tokens);
  outcome.broken = row.broken();
  outcome.largest = row.largest();
  if (!outcome.broken && top >= 0) report_of(row, top, outcome, likeliest);
}

void choose(const SamplingKernels& kernels, const float* logits, std::int64_t tokens, const Ask& ask,
            const Changes& changes, const std::int64_t* allowed, std::int64_t allowed_count, Outcome& outcome,
            std::int64_t* likeliest) {
  Row row(kernels, logits, tokens);
  outcome.broken = row.broken();
  outcome.largest = row.largest();
  if (outcome.broken) return;
  if (ask.logprobs >= 0) report_of(row, ask.logprobs, outcome, likeliest);
  outcome.token = -1;
  std::vector<float> changed, gathered;
  if (changes.biased_count > 0 || changes.seen_count > 0) {
    changed.assign(logits, logits + tokens);
    if (!change(changed, ask, changes)) return;
    logits = changed.data();
  }
  if (allowed) {
    gathered.resize(static_cast<std::size_t>(allowed_count));
    for (std::size_t i = 0; i < gathered.size(); ++i) {
      if (static_cast<std::uint64_t>(allowed[i]) >= static_cast<std::uint64_t>(tokens)) return;
      gathered[i] = logits[allowed[i]];
    }
    if (allowed_count > 0) outcome.token = allowed[Row(kernels, gathered.data(), allowed_count).choose(ask)];
  } else if (!changed.empty()) {
    outcome.token = Row(kernels, logits, tokens).choose(ask);
  } else {
    outcome.token = row.choose(ask);
  }
}

const SamplingKernels& sampling_kernels(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::avx512:  // half of each pass is reading memory: not worth a file of its own
    case InstructionSet::avx2: return sampling_avx2;
#endif
    default: return sampling_plain;
  }
}

}  // namespace ouvert
