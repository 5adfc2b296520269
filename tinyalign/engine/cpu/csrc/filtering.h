// The draw among the tokens that top_k and top_p leave: the likeliest ones, by logit, ties by id.
#pragma once
#include <algorithm>
#include <vector>

#include "lanes.h"

namespace tinyalign {

// A threshold of the logits is found by halving, for all lanes at once: what lies above it is kept for sure,
// what lies just below is sorted, and the rest of the vocabulary is never looked at again.
class Filter {
public:
    // Logits and weights [vocab][lane], weight = e^((logit - largest) / temperature), `total` the weights'
    // sums. `top_k` 0 or `top_p` 0 mean that it was not asked for.
    struct Asked {
        const float *logits, *weights, *largest;
        const double* total;
        float temperature;
        int32_t top_k;
        double top_p;
    };

    explicit Filter(int vocab) : vocab_(vocab), near_(size_t(vocab) * kLanes) {}

    void choose(const Asked& asked, const bool* draws, const double* u, int32_t* out) {
        halve(asked);
        gather(asked);
        for (int l = 0; l < kLanes; ++l)
            if (draws[l]) out[l] = draw(asked, l, u[l]);
    }

private:
    static constexpr int kHalvings = 10, kBlock = 64;
    // Weights this many temperatures below the largest logit are exactly 0, so that nothing there is drawn.
    static constexpr float kDeepest = 90.0f;
    // Tokens count as too few for top_p only if they are so by more than the sums were rounded.
    static constexpr double kSure = 1.0 - 1.0 / 4096;

    // `sure_` becomes a threshold that leaves too few tokens above it (or none), `enough_` a lower one.
    void halve(const Asked& asked) {
        alignas(64) float above[kLanes], below[kLanes], middle[kLanes];
        for (int l = 0; l < kLanes; ++l) above[l] = 0.0f, below[l] = kDeepest, sure_[l] = INFINITY;
        for (int turn = 0; turn < kHalvings; ++turn) {
            for (int l = 0; l < kLanes; ++l) {
                middle[l] = (above[l] + below[l]) / 2;
                enough_[l] = asked.largest[l] - asked.temperature * middle[l];
            }
            count(asked);
            for (int l = 0; l < kLanes; ++l) {
                const bool many = asked.top_k > 0 && count_[l] >= asked.top_k;
                const bool heavy = asked.top_p > 0 && mass_[l] >= asked.top_p * kSure * asked.total[l];
                if (many || heavy)
                    below[l] = middle[l];
                else
                    above[l] = middle[l], sure_[l] = enough_[l];
            }
        }
        for (int l = 0; l < kLanes; ++l) enough_[l] = asked.largest[l] - asked.temperature * below[l];
    }

    // How many logits reach `enough_`, and the sum of their weights.
    void count(const Asked& asked) {
        const Vec* least = reinterpret_cast<const Vec*>(enough_);
        for (int l = 0; l < kLanes; ++l) mass_[l] = 0, count_[l] = 0;
        alignas(64) float part[kLanes];
        for (int begin = 0; begin < vocab_; begin += kBlock) {
            const int end = std::min(begin + kBlock, vocab_);
            for (int v = 0; v < kVectors; ++v) {
                Vec mass{};
                IVec many{};
                for (int t = begin; t < end; ++t) {
                    const IVec seen = row(asked.logits, t)[v] >= least[v];
                    many -= seen;
                    mass += seen ? row(asked.weights, t)[v] : Vec{};
                }
                row(part, 0)[v] = mass;
                reinterpret_cast<IVec*>(count_)[v] += many;
            }
            for (int l = 0; l < kLanes; ++l) mass_[l] += double(part[l]);
        }
    }

    // The tokens of each lane that reach `enough_`, by id.
    void gather(const Asked& asked) {
        const Vec* least = reinterpret_cast<const Vec*>(enough_);
        for (int l = 0; l < kLanes; ++l) count_[l] = 0;
        for (int t = 0; t < vocab_; ++t) {
            uint32_t seen = 0;
            for (int v = 0; v < kVectors; ++v)
                seen |= mask_of(row(asked.logits, t)[v] >= least[v]) << (v * kWidth);
            for (; seen != 0; seen &= seen - 1) {
                const int lane = __builtin_ctz(seen);
                near_[size_t(lane) * vocab_ + count_[lane]++] = t;
            }
        }
    }

    // The order of tokens by falling logit, ties by id; without logits by id. One class, as sorting by two would
    // be compiled twice.
    struct Before {
        const float* logits;
        bool operator()(int a, int b) const {
            if (logits == nullptr) return a < b;
            const float x = logits[size_t(a) * kLanes], y = logits[size_t(b) * kLanes];
            return x > y || (x == y && a < b);
        }
    };

    int32_t draw(const Asked& asked, int lane, double u) {
        const int32_t* near = near_.get() + size_t(lane) * vocab_;
        if (!keep(asked, lane, near, count_[lane])) {
            // Rounding hid that these are too few: all tokens are looked at.
            all_.resize(vocab_);
            for (int t = 0; t < vocab_; ++t) all_[t] = t;
            keep(asked, lane, all_.data(), vocab_);
        }
        const float* weights = asked.weights + lane;
        double sum = 0;
        for (int token : kept_) sum += weights[size_t(token) * kLanes];
        const double reach = u * sum;
        sum = 0;
        for (int token : kept_) {
            sum += weights[size_t(token) * kLanes];
            if (sum > reach) return token;
        }
        return kept_.back();
    }

    // Fills `kept_` from `tokens`, by id; false where they ran out before top_k or top_p was reached.
    bool keep(const Asked& asked, int lane, const int32_t* tokens, int count) {
        const float *logits = asked.logits + lane, *weights = asked.weights + lane;
        const size_t most = asked.top_k > 0 ? size_t(asked.top_k) : size_t(vocab_);
        kept_.clear();
        edge_.clear();
        double before = 0;
        for (int i = 0; i < count; ++i) {
            if (logits[size_t(tokens[i]) * kLanes] >= sure_[lane]) {
                kept_.push_back(tokens[i]);
                before += weights[size_t(tokens[i]) * kLanes];
            } else {
                edge_.push_back(tokens[i]);
            }
        }
        std::sort(edge_.begin(), edge_.end(), Before{logits});
        bool reached = false;
        for (int token : edge_) {
            const bool heavy = asked.top_p > 0 && !kept_.empty() && !(before / asked.total[lane] < asked.top_p);
            reached = heavy || kept_.size() >= most;
            if (reached) break;
            kept_.push_back(token);
            before += weights[size_t(token) * kLanes];
        }
        std::sort(kept_.begin(), kept_.end(), Before{nullptr});
        return reached || kept_.size() >= most || count == vocab_ ||
               (asked.top_p > 0 && !(before / asked.total[lane] < asked.top_p));
    }

    const int vocab_;
    Array<int32_t> near_;  // [lane][vocab]
    std::vector<int32_t> all_, edge_, kept_;
    alignas(64) float sure_[kLanes], enough_[kLanes];
    alignas(64) double mass_[kLanes];
    alignas(64) int32_t count_[kLanes];
};

}  // namespace tinyalign
