// Attention of a warp's own story over its past: a lane takes every 32nd position.
#pragma once
#include "shape.cuh"

// Keys and values of one layer and head: 32 positions side by side, so that a warp reads 128 bytes at a time.
// As int8 a word holds four numbers, and each position has a scale for its key and one for its value.
constexpr int kWords = TA_BYTES ? (TA_D_HEAD + 3) / 4 : TA_D_HEAD;

struct Past {
    uint32* words;
    int positions;  // a multiple of 32
    __device__ uint32* key(int p) const { return words + ((p >> 5) * kWords << 5) + (p & 31); }
    __device__ uint32* value(int p) const { return key(p) + positions * kWords; }
    __device__ float* key_scale(int p) const {
        return reinterpret_cast<float*>(words + 2 * positions * kWords + p);
    }
    __device__ float* value_scale(int p) const { return key_scale(p) + positions; }
};

__device__ __forceinline__ int64 past_words(int positions) {
    return (int64)positions * (2 * kWords + (TA_BYTES ? 2 : 0));
}

// The past of a place (a slot or a prompt), a layer and a head.
__device__ __forceinline__ Past past_of(uint32* all, int place, int layer, int head, int capacity) {
    const int positions = padded(capacity, 32);
    const int64 at = ((int64)place * TA_LAYERS + layer) * TA_KV_HEADS + head;
    return {all + at * past_words(positions), positions};
}

// Turns the heads of a story's row by its position (the halves of a head together), times `scale`.
__device__ void rotate(float* heads, int count, const Model& m, int position, float scale) {
    constexpr int half = TA_D_HEAD / 2;
    for (int i = lane_id(); i < count * half; i += 32) {
        float* a = heads + i / half * TA_D_HEAD + i % half;
        const float c = m.cosines[position * half + i % half], s = m.sines[position * half + i % half];
        const float first = a[0], second = a[half];
        a[0] = (first * c - second * s) * scale;
        a[half] = (second * c + first * s) * scale;
    }
}

// Keeps a head's vector at a position: as floats, or as int8 codes with what one code is worth.
__device__ void keep(const float* x, uint32* words, float* scale) {
#if TA_BYTES
    float largest = 1e-30f, poison = 0.0f;
    for (int d = lane_id(); d < TA_D_HEAD; d += 32) {
        largest = fmaxf(largest, fabsf(x[d]));
        poison += x[d] * 0.0f;
    }
    largest = warp_max(largest);
    poison = warp_sum(poison);
    const float inverse = 127.0f / largest;
    for (int w = lane_id(); w < kWords; w += 32) {
        uint32 four = 0;
        for (int j = 0; j < 4 && 4 * w + j < TA_D_HEAD; ++j)
            four |= uint32(int(rintf(x[4 * w + j] * inverse)) + 128) << (8 * j);
        words[w << 5] = four;
    }
    if (lane_id() == 0) *scale = largest / 127.0f + poison;
#else
    for (int d = lane_id(); d < TA_D_HEAD; d += 32) words[d << 5] = __float_as_uint(x[d]);
#endif
}

// Byte j of a word of codes (+ 128), without a conversion, of which a multiprocessor does few at a time: put into
// the last bits of 2^23 it is 2^23 + code + 128.
__device__ __forceinline__ float code_at(uint32 word, int j) {
    return __uint_as_float(__byte_perm(word, 0x4B000000u, 0x7440u | j)) - 8388736.0f;
}

__device__ __forceinline__ float score_of(const float* q, const Past& past, int p) {
    const uint32* key = past.key(p);
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
        const uint32 word = key[w << 5];
#if TA_BYTES
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (4 * w + j < TA_D_HEAD) sum = fmaf(q[4 * w + j], code_at(word, j), sum);
#else
        sum = fmaf(q[w], __uint_as_float(word), sum);
#endif
    }
    return TA_BYTES ? sum * *past.key_scale(p) : sum;
}

__device__ __forceinline__ void add_value(float weight, const Past& past, int p, float* sum) {
    const uint32* value = past.value(p);
    if (TA_BYTES) weight *= *past.value_scale(p);
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
        const uint32 word = value[w << 5];
#if TA_BYTES
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (4 * w + j < TA_D_HEAD) sum[4 * w + j] = fmaf(weight, code_at(word, j), sum[4 * w + j]);
#else
        sum[w] = fmaf(weight, __uint_as_float(word), sum[w]);
#endif
    }
}

__host__ __device__ constexpr int power_of_two(int size) { return size <= 1 ? 1 : 2 * power_of_two((size + 1) / 2); }
constexpr int kSums = power_of_two(TA_D_HEAD);

// Sums over the lanes of `kCount` numbers each: every step halves what a lane goes on with. In the end lane
// l holds numbers l * kSums / 32 and on, and lanes that got the same one all hold it.
template <int kCount, int kMask>
struct Fold {
    __device__ static __forceinline__ void run(float* sum) {
        if constexpr (kMask > 0) {
            constexpr int half = kCount > 1 ? kCount / 2 : 1;
            const bool upper = lane_id() & kMask;
            if constexpr (kCount > 1) {
#pragma unroll
                for (int i = 0; i < half; ++i) {
                    const float given = upper ? sum[i] : sum[i + half];
                    const float kept = upper ? sum[i + half] : sum[i];
                    sum[i] = kept + __shfl_xor_sync(kAll, given, kMask);
                }
            } else {
                sum[0] += __shfl_xor_sync(kAll, sum[0], kMask);
            }
            Fold<half, kMask / 2>::run(sum);
        }
    }
};

// mixed [d_head] of one head: softmax by running maxima a lane, brought together at the end.
__device__ TA_CALL void attend(const float* q, const Past& prefix, const Past& own, int shared, int length,
                               float* mixed) {
    float sum[kSums] = {}, total = 0.0f, largest = -INFINITY;
    for (int p = lane_id(); p < length; p += 32) {
        const Past& past = p < shared ? prefix : own;
        const float score = score_of(q, past, p);
        if (!(score <= largest)) {  // also where it is NaN, which must reach the logits
            const float shrink = expf(largest - score);
            total *= shrink;
#pragma unroll
            for (int d = 0; d < TA_D_HEAD; ++d) sum[d] *= shrink;
            largest = score;
        }
        const float weight = expf(score - largest);
        total += weight;
        add_value(weight, past, p, sum);
    }
    // NaN maxima are lost here, but their totals and sums are NaN, too.
    const float highest = warp_max(largest);
    const float shrink = total == 0.0f ? 0.0f : expf(largest - highest);
    total = warp_sum(total * shrink);
#pragma unroll
    for (int d = 0; d < kSums; ++d) sum[d] *= shrink;
    Fold<kSums, 16>::run(sum);
    constexpr int each = kSums >= 32 ? kSums / 32 : 1, sharing = kSums >= 32 ? 1 : 32 / kSums;
    if (lane_id() % sharing == 0)
#pragma unroll
        for (int i = 0; i < each; ++i) {
            const int d = lane_id() / sharing * each + i;
            if (d < TA_D_HEAD) mixed[d] = sum[i] / total;
        }
}
