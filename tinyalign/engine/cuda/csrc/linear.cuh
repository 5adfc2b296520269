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

// The same of float weights [outputs][inputs, padded to 4]: a lane has one story and four outputs at a time.
__device__ void multiply_floats(const Scratch& s, const float* weights, const Matrix& m, float* y, int stride) {
    constexpr int kParts = 32 / kStories;  // lanes that share a story
    const int story = lane_id() % kStories, part = lane_id() / kStories;
    const int inputs = padded(m.inputs, 4);
    const float* x = s.in + story * kInRow;
    for (int first = (warp_id() * kParts + part) * 4; first < m.outputs; first += kStories * kParts * 4) {
        const float* w[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int output = first + r < m.outputs ? first + r : m.outputs - 1;
            w[r] = weights + (int64)output * inputs;
        }
        float sum[4] = {};
        for (int k = 0; k < inputs; k += 4) {
            const float4 in = *reinterpret_cast<const float4*>(x + k);
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const float4 four = *reinterpret_cast<const float4*>(w[r] + k);
                sum[r] += in.x * four.x;
                sum[r] += in.y * four.y;
                sum[r] += in.z * four.z;
                sum[r] += in.w * four.w;
            }
        }
#pragma unroll
        for (int r = 0; r < 4; ++r)
            if (first + r < m.outputs)
                y[(int64)story * stride + first + r] = m.bias ? sum[r] + m.bias[first + r] : sum[r];
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
