// y = W x + b for the block's stories: packed trits by tensor cores with exact integer sums, or floats.
#pragma once
#include "shape.cuh"

// Absmax to int8 of a warp's own story: round(x * (127 / max|x|)), halves to even, as tinyalign.ternary has it;
// nothing where `m`, which will read the codes, is of floats.
__device__ TA_CALL void quantise(Scratch& s, int story, const Matrix& m) {
    if (m.kind == kFloat) return;
    const int inputs = m.inputs;
    const float* x = s.in + story * kInRow;
    float largest = 1e-5f, poison = 0.0f;
    for (int k = lane_id(); k < inputs; k += 32) {
        largest = fmaxf(largest, fabsf(x[k]));
        poison += x[k] * 0.0f;  // a maximum can lose a NaN, this sum keeps it
    }
    largest = warp_max(largest);
    poison = warp_sum(poison);
    const float inverse = 127.0f / largest;
    int8* codes = s.codes + story * kCodeRow;
    int sum = 0;
    // Matrices are padded to 64 inputs; what no input stands for must be 0.
    for (int k = lane_id(); k < padded(inputs, 64); k += 32) {
        const int code = k < inputs ? int(rintf(x[k] * inverse)) : 0;
        codes[k] = int8(code);
        sum += code;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) s.scale[story] = largest / 127.0f + poison, s.sum[story] = sum;
}

// The four registers of int8 codes of a 16 x 32 tile out of a lane's packed word. Register i holds fields
// 2i, 8 + 2i, 16 + 2i and 24 + 2i; of 1-bit weights two tiles share a word.
__device__ __forceinline__ void unpack_ternary(uint32 word, uint32 (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = (word >> (2 * i)) & 0x03030303u;
}
__device__ __forceinline__ void unpack_bits(uint32 word, int tile, uint32 (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = (word >> (4 * tile + i)) & 0x01010101u;
}

// y [story][stride] of packed weights and the stories' codes; a warp takes 16 outputs at a time.
__device__ void multiply_packed(const Scratch& s, const uint32* words, const Matrix& m, float* y, int stride) {
    constexpr int kGroups = kStories / 8;
    const int lane = lane_id(), g = lane >> 2, t = lane & 3;
    const bool bits = m.kind == kOneBit;
    const int tiles = padded(m.inputs, 64) / 32, row_words = 32 * (bits ? tiles / 2 : tiles);
    for (int tile = warp_id(); tile * 16 < m.outputs; tile += kStories) {
        const uint32* row = words + (int64)tile * row_words + lane;
        int sum[kGroups][4] = {};
        for (int k = 0; k < tiles; ++k) {
            uint32 a[4];
            if (bits)
                unpack_bits(row[32 * (k / 2)], k % 2, a);
            else
                unpack_ternary(row[32 * k], a);
#pragma unroll
            for (int n = 0; n < kGroups; ++n) {
                const int8* codes = s.codes + (8 * n + g) * kCodeRow + 32 * k + 4 * t;
                multiply(sum[n], a, *reinterpret_cast<const uint32*>(codes),
                         *reinterpret_cast<const uint32*>(codes + 16));
            }
        }
#pragma unroll
        for (int n = 0; n < kGroups; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int output = tile * 16 + g + (i >= 2 ? 8 : 0), story = 8 * n + 2 * t + (i & 1);
                if (output >= m.outputs) continue;
                // Codes stand for trit + 1, or for (sign + 1) / 2.
                const int exact = (bits ? 2 * sum[n][i] : sum[n][i]) - s.sum[story];
                const float value = float(exact) * (s.scale[story] * m.scale);
                y[(int64)story * stride + output] = m.bias ? value + m.bias[output] : value;
            }
    }
}

// A number as the sum of two that tensor cores take, to 2^-22 of it.
struct Halves {
    uint32 high, low;
    __device__ __forceinline__ explicit Halves(float x) : high(to_tf32(x)), low(to_tf32(x - __uint_as_float(high))) {}
};

// The same of float weights [tile of outputs][8 inputs][lane][4]: the products of the halves but for the smallest.
__device__ void multiply_floats(const Scratch& s, const float* weights, const Matrix& m, float* y, int stride) {
    constexpr int kGroups = kStories / 8;
    const int lane = lane_id(), g = lane >> 2, t = lane & 3;
    const int tiles = padded(m.inputs, 8) / 8;
    for (int tile = warp_id(); tile * 16 < m.outputs; tile += kStories) {
        const float4* row = reinterpret_cast<const float4*>(weights) + (int64)tile * tiles * 32 + lane;
        float sum[kGroups][4] = {};
        for (int k = 0; k < tiles; ++k) {
            const float4 four = row[32 * k];
            const Halves w[4] = {Halves(four.x), Halves(four.y), Halves(four.z), Halves(four.w)};
            const uint32 high[4] = {w[0].high, w[1].high, w[2].high, w[3].high};
            const uint32 low[4] = {w[0].low, w[1].low, w[2].low, w[3].low};
#pragma unroll
            for (int n = 0; n < kGroups; ++n) {
                const float* x = s.in + (8 * n + g) * kInRow + 8 * k + t;
                const Halves first(x[0]), second(x[4]);
                // Tensor cores cut off what they add to, so that a long sum would be too small (Ootomo and Yokota
                // 2022, section 3): they add eight inputs, the multiprocessor the rest.
                float part[4] = {};
                multiply(part, low, first.high, second.high);
                multiply(part, high, first.low, second.low);
                multiply(part, high, first.high, second.high);
#pragma unroll
                for (int i = 0; i < 4; ++i) sum[n][i] += part[i];
            }
        }
#pragma unroll
        for (int n = 0; n < kGroups; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int output = tile * 16 + g + (i >= 2 ? 8 : 0), story = 8 * n + 2 * t + (i & 1);
                if (output >= m.outputs) continue;
                y[(int64)story * stride + output] = m.bias ? sum[n][i] + m.bias[output] : sum[n][i];
            }
    }
}

// `resident` are the weights in shared memory. All threads take part; the caller synchronises.
// A call, not inlined eight times: the kernel compiles in half of the time.
__device__ TA_CALL void apply(const Scratch& s, const Model& model, const uint8* resident, const Matrix& m,
                              float* y, int stride) {
    if (m.kind == kFloat) return multiply_floats(s, model.floats + m.offset, m, y, stride);
    const int words = padded(m.inputs, 64) / 32 * (m.kind == kOneBit ? 16 : 32);
    const uint64 bytes = (uint64)(padded(m.outputs, 16) / 16) * words * 4;
    const uint8* from = m.offset + bytes <= model.resident ? resident : model.packed;
    multiply_packed(s, reinterpret_cast<const uint32*>(from + m.offset), m, y, stride);
}
