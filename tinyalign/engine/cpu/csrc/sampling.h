// The draw of a token, as tinyalign/engine/sampling.py defines it: Philox number, inverse transform over ids.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.h"

namespace tinyalign {

// `top_k` 0 and `top_p` 0 mean that they were not asked for; temperature 0 is greedy.
struct Draw {
    double temperature;
    double top_p;
    int32_t top_k;
    uint64_t seed;
};

// Philox4x32-10 (Salmon et al. 2011): the first word for (seed, story, position), in (0, 1).
inline double uniform(uint64_t seed, uint64_t story, uint32_t position) {
    uint32_t c[4] = {position, 0, uint32_t(story), uint32_t(story >> 32)};
    uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
        const uint64_t first = uint64_t(c[0]) * 0xD2511F53u, second = uint64_t(c[2]) * 0xCD9E8D57u;
        const uint32_t next[4] = {uint32_t(second >> 32) ^ c[1] ^ key[0], uint32_t(second),
                                  uint32_t(first >> 32) ^ c[3] ^ key[1], uint32_t(first)};
        std::memcpy(c, next, sizeof c);
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return (double(c[0]) + 0.5) / 4294967296.0;
}

// What the logits of all lanes [vocab][lane] hold: the first largest, and whether all can be used.
struct Largest {
    alignas(64) float value[kLanes];
    alignas(64) int32_t token[kLanes];
    bool usable[kLanes];
};

inline void find_largest(const float* logits, int vocab, Largest& out) {
    Vec best[kVectors];
    IVec at[kVectors], broken[kVectors];
    for (int v = 0; v < kVectors; ++v) best[v] = splat(-INFINITY), at[v] = IVec{}, broken[v] = IVec{};
    for (int t = 0; t < vocab; ++t)
        for (int v = 0; v < kVectors; ++v) {
            const Vec here = row(logits, t)[v];
            const IVec better = here > best[v];
            best[v] = better ? here : best[v];
            at[v] = better ? IVec{} + t : at[v];
            broken[v] |= here != here;
        }
    for (int l = 0; l < kLanes; ++l) {
        out.value[l] = best[l / kWidth][l % kWidth];
        out.token[l] = at[l / kWidth][l % kWidth];
        out.usable[l] = !broken[l / kWidth][l % kWidth] && std::isfinite(out.value[l]);
    }
}

// Logarithms of the sums of e^logit over the vocabulary, by lane.
inline void log_sums(const float* logits, int vocab, const Largest& largest, double* out) {
    alignas(64) double total[kLanes] = {};
    alignas(64) float weight[kLanes];
    for (int t = 0; t < vocab; ++t) {
        for (int v = 0; v < kVectors; ++v)
            row(weight, 0)[v] =
                exponential(row(logits, t)[v] - reinterpret_cast<const Vec*>(largest.value)[v]);
        for (int l = 0; l < kLanes; ++l) total[l] += weight[l];
    }
    for (int l = 0; l < kLanes; ++l) out[l] = double(largest.value[l]) + std::log(total[l]);
}

class Sampler {
public:
    explicit Sampler(int vocab) : vocab_(vocab), weights_(size_t(vocab) * kLanes) {}

    // A token for each lane that draws, from logits [vocab][lane] and uniforms [lane].
    void choose(const float* logits, const Largest& largest, const Draw& draw, const bool* draws,
                const double* u, int32_t* out) {
        if (draw.temperature == 0) {
            std::memcpy(out, largest.token, sizeof largest.token);
            return;
        }
        // Below this float32 would divide by 0; there and above it a smaller weight than the largest is 0.
        const float temperature = std::max(float(draw.temperature), 1e-30f);
        alignas(64) double total[kLanes] = {};
        for (int t = 0; t < vocab_; ++t) {
            for (int v = 0; v < kVectors; ++v) {
                const Vec below = row(logits, t)[v] - reinterpret_cast<const Vec*>(largest.value)[v];
                row(weights_.get(), t)[v] = exponential(below / temperature);
            }
            const float* weight = weights_.get() + size_t(t) * kLanes;
            for (int l = 0; l < kLanes; ++l) total[l] += weight[l];
        }
        if (draw.top_k > 0 || draw.top_p > 0) {
            for (int l = 0; l < kLanes; ++l)
                if (draws[l]) out[l] = filtered(logits, l, total[l], draw, u[l]);
            return;
        }
        alignas(64) double sum[kLanes] = {}, reach[kLanes], count[kLanes] = {};
        for (int l = 0; l < kLanes; ++l) reach[l] = u[l] * total[l];
        for (int t = 0; t < vocab_; ++t) {
            const float* weight = weights_.get() + size_t(t) * kLanes;
            for (int l = 0; l < kLanes; ++l) {
                sum[l] += weight[l];
                count[l] += sum[l] <= reach[l] ? 1.0 : 0.0;
            }
        }
        for (int l = 0; l < kLanes; ++l) out[l] = int32_t(count[l]);
    }

private:
    // The likeliest tokens come off a heap (by logit, ties by id) until top_k or top_p is reached.
    int32_t filtered(const float* logits, int lane, double total, const Draw& draw, double u) {
        heap_.clear();
        for (int t = 0; t < vocab_; ++t) heap_.push_back(t);
        const auto less = [&](int a, int b) {
            const float x = logits[size_t(a) * kLanes + lane], y = logits[size_t(b) * kLanes + lane];
            return x < y || (x == y && a > b);
        };
        std::make_heap(heap_.begin(), heap_.end(), less);
        kept_.clear();
        const size_t most = draw.top_k > 0 ? size_t(draw.top_k) : heap_.size();
        double before = 0;
        while (!heap_.empty() && kept_.size() < most) {
            if (draw.top_p > 0 && !kept_.empty() && !(before / total < draw.top_p)) break;
            std::pop_heap(heap_.begin(), heap_.end(), less);
            const int token = heap_.back();
            heap_.pop_back();
            kept_.push_back(token);
            before += weights_[size_t(token) * kLanes + lane];
        }
        std::sort(kept_.begin(), kept_.end());
        double sum = 0;
        for (int token : kept_) sum += weights_[size_t(token) * kLanes + lane];
        const double reach = u * sum;
        sum = 0;
        for (int token : kept_) {
            sum += weights_[size_t(token) * kLanes + lane];
            if (sum > reach) return token;
        }
        return kept_.back();
    }

    int vocab_;
    Array<float> weights_;
    std::vector<int> heap_, kept_;
};

}  // namespace tinyalign
