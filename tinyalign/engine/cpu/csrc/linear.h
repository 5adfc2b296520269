// y = W x + b for the 32 lanes: float weights, or trits with int8 activations and exact integer sums.
#pragma once
#include <cmath>

#include "lanes.h"

namespace tinyalign {

// Outputs that share one pass over the inputs; their sums fill half of the registers.
constexpr int kTile = kRegisters / 2 / kVectors > 0 ? kRegisters / 2 / kVectors : 1;

// Activations of all lanes as int8: `codes` [inputs / 4][lane][4], `scale` and the sum of codes of a lane.
struct Codes {
    Array<int8_t> codes;
    alignas(64) float scale[kLanes];
    alignas(64) int32_t sum[kLanes];
};

// Absmax to int8, a lane a token: round(x * (127 / max|x|)), halves to even, as tinyalign.ternary has it.
inline void quantise(const float* x, int inputs, Codes& out) {
    alignas(64) float largest[kLanes], inverse[kLanes], poison[kLanes];
    for (int l = 0; l < kLanes; ++l) largest[l] = 1e-5f, poison[l] = 0.0f, out.sum[l] = 0;
    for (int k = 0; k < inputs; ++k) {
        const float* in = x + size_t(k) * kLanes;
        for (int l = 0; l < kLanes; ++l) {
            const float size = std::fabs(in[l]);
            largest[l] = size > largest[l] ? size : largest[l];
            poison[l] += in[l] * 0.0f;  // a maximum can lose a NaN, this sum keeps it
        }
    }
    for (int l = 0; l < kLanes; ++l) {
        inverse[l] = 1.0f / largest[l] * 127.0f;  // so torch computes 127.0 / largest
        out.scale[l] = largest[l] / 127.0f + poison[l];
    }
    alignas(64) static const float zeros[kLanes] = {};
    int32_t* packed = reinterpret_cast<int32_t*>(out.codes.get());
    for (int k = 0; k < inputs; k += 4, packed += kLanes) {
        const float* in[4];
        for (int j = 0; j < 4; ++j) in[j] = k + j < inputs ? x + size_t(k + j) * kLanes : zeros;
        for (int l = 0; l < kLanes; ++l) {
            const int32_t a = int32_t(__builtin_rintf(in[0][l] * inverse[l]));
            const int32_t b = int32_t(__builtin_rintf(in[1][l] * inverse[l]));
            const int32_t c = int32_t(__builtin_rintf(in[2][l] * inverse[l]));
            const int32_t d = int32_t(__builtin_rintf(in[3][l] * inverse[l]));
            out.sum[l] += a + b + c + d;
            packed[l] = int32_t(uint32_t(a & 255) | uint32_t(b & 255) << 8 | uint32_t(c & 255) << 16 |
                                uint32_t(d & 255) << 24);
        }
    }
}

// Sums over k of (trit + 1) * code for `kTile` outputs: `w` [inputs / 4][kTile][4], `acc` [kTile][lane].
inline void integer_tile(const uint8_t* w, const int8_t* codes, int fours, int32_t* acc) {
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
    __m512i sum[kTile][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_si512();
    for (int k = 0; k < fours; ++k) {
        const __m512i* x = reinterpret_cast<const __m512i*>(codes + size_t(k) * kLanes * 4);
        const int32_t* four = reinterpret_cast<const int32_t*>(w + size_t(k) * kTile * 4);
#pragma GCC unroll 16
        for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v)
                sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], _mm512_set1_epi32(four[r]), x[v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) _mm512_store_si512(acc + r * kLanes + v * 16, sum[r][v]);
#elif defined(__AVX2__)
    // A pair sum is at most 2 * 2 * 127 = 508, so 64 of them fit int16.
    constexpr int vectors = kLanes * 4 / 32;
    const __m256i ones = _mm256_set1_epi16(1);
    for (int r = 0; r < kTile; ++r)
        for (int v = 0; v < vectors; ++v) {
            __m256i total = _mm256_setzero_si256();
            for (int begin = 0; begin < fours; begin += 64) {
                const int end = begin + 64 < fours ? begin + 64 : fours;
                __m256i sum = _mm256_setzero_si256();
                for (int k = begin; k < end; ++k) {
                    int32_t four;
                    std::memcpy(&four, w + (size_t(k) * kTile + r) * 4, 4);
                    const __m256i x =
                        reinterpret_cast<const __m256i*>(codes + size_t(k) * kLanes * 4)[v];
                    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_set1_epi32(four), x));
                }
                total = _mm256_add_epi32(total, _mm256_madd_epi16(sum, ones));
            }
            _mm256_store_si256(reinterpret_cast<__m256i*>(acc + r * kLanes + v * 8), total);
        }
#else
    std::memset(acc, 0, sizeof(int32_t) * kTile * kLanes);
    for (int k = 0; k < fours; ++k)
        for (int r = 0; r < kTile; ++r)
            for (int j = 0; j < 4; ++j) {
                const int32_t weight = w[(size_t(k) * kTile + r) * 4 + j];
                const int8_t* x = codes + size_t(k) * kLanes * 4 + j;
                for (int l = 0; l < kLanes; ++l) acc[r * kLanes + l] += weight * x[l * 4];
            }
#endif
}

class Linear {
public:
    int outputs = 0, inputs = 0;
    bool ternary = false;

    // `weight` [outputs, inputs], row-major, is copied.
    void set_float(const float* weight, int rows, int columns) {
        shape(rows, columns);
        ternary = false;
        weights_.resize(size_t(tiles()) * inputs * kTile);
        for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < inputs; ++k)
                weights_[(size_t(o / kTile) * inputs + k) * kTile + o % kTile] = weight[size_t(o) * inputs + k];
    }

    // `trits` [outputs, inputs] of -1, 0, 1, row-major, are copied as trit + 1.
    void set_ternary(const int8_t* trits, float scale, int rows, int columns) {
        shape(rows, columns);
        ternary = true;
        scale_ = scale;
        const int fours = (inputs + 3) / 4;
        bytes_.resize(size_t(tiles()) * fours * kTile * 4);
        for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < inputs; ++k)
                bytes_[((size_t(o / kTile) * fours + k / 4) * kTile + o % kTile) * 4 + k % 4] =
                    uint8_t(trits[size_t(o) * inputs + k] + 1);
    }

    // `bias` [outputs] is copied.
    void set_bias(const float* bias, int rows) {
        bias_.resize(rows);
        std::memcpy(bias_.get(), bias, size_t(rows) * sizeof(float));
    }

    // y [outputs][lane] from x [inputs][lane], or from `codes` of x where the weights are ternary.
    void apply(const float* x, const Codes& codes, float* y) const {
        if (ternary)
            apply_ternary(codes, y);
        else
            apply_float(x, y);
    }

    // The exact sums of trit * code, [outputs][lane].
    void integers(const Codes& codes, int32_t* y) const {
        alignas(64) int32_t acc[kTile * kLanes];
        const int fours = (inputs + 3) / 4;
        for (int tile = 0; tile < tiles(); ++tile) {
            integer_tile(bytes_.get() + size_t(tile) * fours * kTile * 4, codes.codes.get(), fours, acc);
            for (int r = 0; r < kTile && tile * kTile + r < outputs; ++r)
                for (int l = 0; l < kLanes; ++l)
                    y[size_t(tile * kTile + r) * kLanes + l] = acc[r * kLanes + l] - codes.sum[l];
        }
    }

private:
    void shape(int rows, int columns) { outputs = rows, inputs = columns; }
    int tiles() const { return (outputs + kTile - 1) / kTile; }
    float bias(int output) const { return bias_.size() > 0 ? bias_[output] : 0.0f; }

    void apply_float(const float* x, float* y) const {
        for (int tile = 0; tile < tiles(); ++tile) {
            const float* w = weights_.get() + size_t(tile) * inputs * kTile;
            Vec sum[kTile][kVectors];
#pragma GCC unroll 16
            for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v) sum[r][v] = Vec{};
            for (int k = 0; k < inputs; ++k, w += kTile) {
                const Vec* in = row(x, k);
#pragma GCC unroll 16
                for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
                    for (int v = 0; v < kVectors; ++v) sum[r][v] += in[v] * w[r];
            }
#pragma GCC unroll 16
            for (int r = 0; r < kTile; ++r)
                if (tile * kTile + r < outputs) {
                    const float b = bias(tile * kTile + r);
#pragma GCC unroll 16
                    for (int v = 0; v < kVectors; ++v) row(y, tile * kTile + r)[v] = sum[r][v] + b;
                }
        }
    }

    void apply_ternary(const Codes& codes, float* y) const {
        alignas(64) int32_t acc[kTile * kLanes];
        alignas(64) float factor[kLanes];
        for (int l = 0; l < kLanes; ++l) factor[l] = codes.scale[l] * scale_;
        const int fours = (inputs + 3) / 4;
        for (int tile = 0; tile < tiles(); ++tile) {
            integer_tile(bytes_.get() + size_t(tile) * fours * kTile * 4, codes.codes.get(), fours, acc);
            for (int r = 0; r < kTile && tile * kTile + r < outputs; ++r) {
                float* out = y + size_t(tile * kTile + r) * kLanes;
                const float b = bias(tile * kTile + r);
                for (int l = 0; l < kLanes; ++l)
                    out[l] = float(acc[r * kLanes + l] - codes.sum[l]) * factor[l] + b;
            }
        }
    }

    Array<float> weights_;   // [tile][inputs][kTile]
    Array<uint8_t> bytes_;   // [tile][inputs / 4][kTile][4]
    Array<float> bias_;      // [outputs], or empty
    float scale_ = 1.0f;
};

}  // namespace tinyalign
