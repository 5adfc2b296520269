// The draw of a token, as tinyalign/engine/sampling.py defines it, by a warp: Philox number, inverse transform
// over token ids.
#pragma once
#include "shape.cuh"

// Philox4x32-10 (Salmon et al. 2011): the first word for (seed, story, position), in (0, 1).
__device__ double uniform(uint64 seed, uint64 story, uint32 position) {
    uint32 c0 = position, c1 = 0, c2 = uint32(story), c3 = uint32(story >> 32);
    uint32 k0 = uint32(seed), k1 = uint32(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64 first = (uint64)c0 * 0xD2511F53u, second = (uint64)c2 * 0xCD9E8D57u;
        c0 = uint32(second >> 32) ^ c1 ^ k0;
        c1 = uint32(second);
        c2 = uint32(first >> 32) ^ c3 ^ k1;
        c3 = uint32(first);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (double(c0) + 0.5) / 4294967296.0;
}

// The first largest logit of a story, and whether its logits can be used.
struct Best {
    float logit;
    int token;
    bool usable;
};

__device__ Best find_best(const float* logits) {
    Best best = {-INFINITY, TA_VOCAB, true};
    for (int t = lane_id(); t < TA_VOCAB; t += 32) {
        best.usable &= logits[t] == logits[t];
        if (logits[t] > best.logit) best.logit = logits[t], best.token = t;
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) {
        const float logit = __shfl_xor_sync(kAll, best.logit, mask);
        const int token = __shfl_xor_sync(kAll, best.token, mask);
        if (logit > best.logit || (logit == best.logit && token < best.token))
            best.logit = logit, best.token = token;
    }
    best.usable = __ballot_sync(kAll, best.usable) == kAll && fabsf(best.logit) < INFINITY;
    return best;
}

// Floats in an order of unsigned integers.
__device__ __forceinline__ uint32 order_of(float x) {
    const uint32 bits = __float_as_uint(x + 0.0f);  // -0 is 0
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// What top_k and top_p keep of a story's tokens: those above `key`, and the first `ties` (by id) that are at it.
struct Kept {
    uint32 key;
    int ties;
};

struct Weights {
    const float* logits;
    float largest, temperature;
    __device__ float at(int t) const { return expf((logits[t] - largest) / temperature); }
};

// How many tokens are above a key, and the sum of their weights.
__device__ TA_CALL void above(const Weights& w, uint32 key, int& count, double& sum) {
    count = 0, sum = 0;
    for (int t = lane_id(); t < TA_VOCAB; t += 32)
        if (order_of(w.logits[t]) > key) ++count, sum += w.at(t);
    count = warp_sum(count), sum = warp_sum(sum);
}

// A token is kept while fewer than top_k, and weights of less than top_p of the whole, stand before it; ties by id.
__device__ Kept keep_likeliest(const Weights& w, const Job& job) {
    int count;
    double total, sum;
    above(w, 0, count, total);
    const int most = job.top_k > 0 ? job.top_k : TA_VOCAB;
    // The lowest key whose first token would still be kept, by bisection.
    uint32 low = 0, high = order_of(w.largest);
    while (low < high) {
        const uint32 key = low + (high - low) / 2;
        above(w, key, count, sum);
        if (count < most && (job.top_p == 0 || count == 0 || sum / total < job.top_p))
            high = key;
        else
            low = key + 1;
    }
    above(w, low, count, sum);
    int equal = 0;
    float weight = 0;
    for (int t = lane_id(); t < TA_VOCAB; t += 32)
        if (order_of(w.logits[t]) == low) ++equal, weight = w.at(t);
    equal = warp_sum(equal), weight = warp_max(weight);
    int ties = 0;
    while (ties < equal && count + ties < most) {
        if (job.top_p > 0 && count + ties > 0 && !((sum + double(weight) * ties) / total < job.top_p)) break;
        ++ties;
    }
    return {low, ties};
}

// Tokens go in groups of 32 lanes times kSteps, by id.
constexpr int kSteps = 8, kGroup = 32 * kSteps;

// The weights of a group's tokens, this lane's of every step; `ties` counts those at the key so far.
__device__ __forceinline__ void weigh(const Weights& w, const Kept* kept, int first, int& ties,
                                      float (&weights)[kSteps]) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
        const int t = first + 32 * i + lane_id();
        weights[i] = t < TA_VOCAB ? w.at(t) : 0.0f;
        if (kept) {
            const uint32 key = t < TA_VOCAB ? order_of(w.logits[t]) : 0;
            const uint32 at = __ballot_sync(kAll, key == kept->key);
            const int before = ties + __popc(at & ((1u << lane_id()) - 1));
            if (key < kept->key || (key == kept->key && before >= kept->ties)) weights[i] = 0;
            ties += __popc(at);
        }
    }
}

__device__ __forceinline__ double sum_of(const float (&weights)[kSteps]) {
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) sum += weights[i];
    return warp_sum(sum);
}

// The token of a group whose weights, added by id to `sum`, first go beyond `reach`; or the last of any weight.
__device__ int find_in_group(const float (&weights)[kSteps], int first, double sum, double reach) {
    int token = first;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
        const float weight = weights[i];
        double upto = weight;
#pragma unroll
        for (int step = 1; step < 32; step <<= 1) {
            const double other = __shfl_up_sync(kAll, upto, step);
            if (lane_id() >= step) upto += other;
        }
        const uint32 beyond = __ballot_sync(kAll, sum + upto > reach && weight > 0);
        const uint32 some = __ballot_sync(kAll, weight > 0);
        if (beyond) return first + 32 * i + __ffs(beyond) - 1;
        if (some) token = first + 32 * i + 31 - __clz(some);
        sum += warp_sum(double(weight));
    }
    return token;
}

__device__ int draw(const float* logits, const Best& best, const Job& job, double u) {
    if (job.temperature == 0) return best.token;
    // Below this float32 would divide by 0; there and above it a smaller weight than the largest is 0.
    const float temperature = fmaxf(float(job.temperature), 1e-30f);
    const Weights w = {logits, best.logit, temperature};
    Kept found;
    const Kept* kept = nullptr;
    if (job.top_k > 0 || job.top_p > 0) found = keep_likeliest(w, job), kept = &found;
    float weights[kSteps];
    double total = 0;
    int ties = 0;
    for (int first = 0; first < TA_VOCAB; first += kGroup) {
        weigh(w, kept, first, ties, weights);
        total += sum_of(weights);
    }
    // The same sums again, up to the group in which they go beyond: u is below 1, so there is one.
    const double reach = u * total;
    double sum = 0;
    ties = 0;
    for (int first = 0; first < TA_VOCAB; first += kGroup) {
        weigh(w, kept, first, ties, weights);
        const double after = sum + sum_of(weights);
        if (after > reach) return find_in_group(weights, first, sum, reach);
        sum = after;
    }
    return best.token;
}
