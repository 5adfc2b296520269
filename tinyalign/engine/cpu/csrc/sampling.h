// The draw of a token, as tinyalign/engine/sampling.py defines it: Philox number, inverse transform over ids.
#pragma once
#include <algorithm>
#include <cmath>

#include "filtering.h"

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
    explicit Sampler(int vocab)
        : vocab_(vocab), blocks_((vocab + kBlock - 1) / kBlock), weights_(size_t(vocab) * kLanes),
          sums_(size_t(blocks_) * kLanes), before_(size_t(blocks_ + 1) * kLanes), filter_(vocab) {}

    // A token for each lane that draws, from logits [vocab][lane] and uniforms [lane].
    void choose(const float* logits, const Largest& largest, const Draw& draw, const bool* draws,
                const double* u, int32_t* out) {
        if (draw.temperature == 0) {
            std::memcpy(out, largest.token, sizeof largest.token);
            return;
        }
        // Beyond these float32 would divide by 0 or infinity; there and before, all weights are 0 or 1.
        const float temperature = std::min(std::max(float(draw.temperature), 1e-30f), 1e30f);
        weigh(logits, largest, 1.0f / temperature);
        const double* total = before_.get() + size_t(blocks_) * kLanes;
        if (draw.top_k > 0 || draw.top_p > 0) {
            const Filter::Asked asked{logits, weights_.get(), largest.value, total, temperature,
                                      draw.top_k, draw.top_p};
            filter_.choose(asked, draws, u, out);
            return;
        }
        alignas(64) double reach[kLanes], passed[kLanes] = {};
        for (int l = 0; l < kLanes; ++l) reach[l] = u[l] * total[l];
        for (int b = 1; b < blocks_; ++b) {
            const double* before = before_.get() + size_t(b) * kLanes;
            for (int l = 0; l < kLanes; ++l) passed[l] += before[l] <= reach[l] ? 1.0 : 0.0;
        }
        for (int l = 0; l < kLanes; ++l)
            if (draws[l]) out[l] = walk(l, int(passed[l]), reach[l]);
    }

private:
    static constexpr int kBlock = 32;  // tokens whose weights are summed in floats

    // Weights e^((logit - largest) / temperature), and before each block of tokens the sum of all before it.
    void weigh(const float* logits, const Largest& largest, float inverse) {
        for (int b = 0; b < blocks_; ++b) {
            const int begin = b * kBlock, end = std::min(begin + kBlock, vocab_);
            for (int v = 0; v < kVectors; ++v) {
                const Vec most = reinterpret_cast<const Vec*>(largest.value)[v];
                Vec sum{};
                for (int t = begin; t < end; ++t) {
                    const Vec weight = exponential((row(logits, t)[v] - most) * inverse);
                    row(weights_.get(), t)[v] = weight;
                    sum += weight;
                }
                row(sums_.get(), b)[v] = sum;
            }
        }
        for (int b = 0; b < blocks_; ++b) {
            const double* before = before_.get() + size_t(b) * kLanes;
            const float* sum = sums_.get() + size_t(b) * kLanes;
            double* after = before_.get() + size_t(b + 1) * kLanes;
            for (int l = 0; l < kLanes; ++l) after[l] = before[l] + double(sum[l]);
        }
    }

    // The first token of a block with which the sum exceeds `reach`, which it does in this block.
    int32_t walk(int lane, int block, double reach) const {
        const int begin = block * kBlock, end = std::min(begin + kBlock, vocab_);
        const float* weights = weights_.get() + lane;
        double sum = before_[size_t(block) * kLanes + lane];
        for (int t = begin; t < end; ++t) {
            sum += weights[size_t(t) * kLanes];
            if (sum > reach) return t;
        }
        // The block's sum was rounded up: the draw falls on its last token that can be drawn.
        int t = end - 1;
        while (t > 0 && !(weights[size_t(t) * kLanes] > 0)) --t;
        return t;
    }

    const int vocab_, blocks_;
    Array<float> weights_, sums_;
    Array<double> before_;  // [blocks + 1][lane], the first row 0
    Filter filter_;
};

}  // namespace tinyalign
