// y = W x + b for the 32 lanes: float weights, or trits with int8 activations and exact integer sums.
#pragma once
#include <cmath>

#include "ahead.h"
#include "tiles.h"

namespace tinyalign {

// Outputs that share one pass over the inputs; their sums fill half of the registers.
constexpr int kTile = kRegisters / 2 / kVectors > 0 ? kRegisters / 2 / kVectors : 1;

// Activations of all lanes as int8: `codes` [inputs / 4][lane][4], `scale` and the sum of codes of a lane.
// Whole tiles of inputs are read, of which weights of 0 hide what lies beyond the last input.
struct Codes {
    void resize(int inputs) {
        codes.resize(size_t(inputs + kTileInputs) * kLanes);
        panel.resize(size_t(inputs + kTileInputs) * 2 * kTileOutputs + 4 * kRun);
    }
    static constexpr int kRun = 64;  // packed bytes that are unpacked together
    mutable Array<uint8_t> panel;    // the weights of one group of outputs, unpacked
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
        tiled_ = tiles_allowed();
        bytes_.resize(size_t(groups()) * kept_bytes());
        for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < inputs; ++k) {
                const int code = trits[size_t(o) * inputs + k] + 1;
                const size_t group = o / group_outputs() * kept_bytes(), at = place(o, k);
                if (tiled_)
                    bytes_[group + at / (4 * kRun) * kRun + at % kRun] |= uint8_t(code << (at / kRun % 4 * 2));
                else
                    bytes_[group + at] = uint8_t(code);
            }
    }

    // `bias` [outputs] is copied.
    void set_bias(const float* bias, int rows) {
        bias_.resize(rows);
        std::memcpy(bias_.get(), bias, size_t(rows) * sizeof(float));
    }

    // y [outputs][lane] from x [inputs][lane], or from `codes` of x where the weights are ternary.
    void apply(const float* x, const Codes& codes, Ahead& ahead, float* y) const {
        if (ternary)
            apply_ternary(codes, y);
        else
            apply_float(x, ahead, y);
    }

    // The exact sums of trit * code, [outputs][lane].
    void integers(const Codes& codes, int32_t* y) const {
        each_output(codes, [&](int output, const int32_t* acc) {
            for (int l = 0; l < kLanes; ++l) y[size_t(output) * kLanes + l] = acc[l] - codes.sum[l];
        });
    }

private:
    static constexpr int kRun = Codes::kRun;
    // One line of memory is asked for with 16 multiply-adds of vectors; with more of them all was slower.
    static constexpr int kPace = kTile * kVectors < 16 ? 16 / (kTile * kVectors) : 1;

    void shape(int rows, int columns) { outputs = rows, inputs = columns; }
    int tiles() const { return (outputs + kTile - 1) / kTile; }
    float bias(int output) const { return bias_.size() > 0 ? bias_[output] : 0.0f; }

    void apply_float(const float* x, Ahead& ahead, float* y) const {
        for (int tile = 0; tile < tiles(); ++tile) {
            const float* w = weights_.get() + size_t(tile) * inputs * kTile;
            Vec sum[kTile][kVectors];
#pragma GCC unroll 16
            for (int r = 0; r < kTile; ++r)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v) sum[r][v] = Vec{};
            Ahead::Lines lines = ahead.next(inputs / kPace);
            for (int k = 0; k < inputs; ++k, w += kTile) {
                const Vec* in = row(x, k);
                if (k % kPace == 0) lines.ask();
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
        alignas(64) float factor[kLanes];
        for (int l = 0; l < kLanes; ++l) factor[l] = codes.scale[l] * scale_;
        each_output(codes, [&](int output, const int32_t* acc) {
            float* out = y + size_t(output) * kLanes;
            const float b = bias(output);
            for (int l = 0; l < kLanes; ++l) out[l] = float(acc[l] - codes.sum[l]) * factor[l] + b;
        });
    }

    // Groups of outputs are multiplied together, from trits laid out as [inputs / 4][kTile][4], or for the matrix
    // unit as [2][inputs / 64][16][64]. For the unit, which is faster than memory, they are kept in 2 bits and
    // unpacked at every step, as attention has taken their place in the caches meanwhile.
    int group_outputs() const { return tiled_ ? 2 * kTileOutputs : kTile; }
    int groups() const { return (outputs + group_outputs() - 1) / group_outputs(); }
    int blocks() const { return (inputs + kTileInputs - 1) / kTileInputs; }
    size_t group_bytes() const {
        const int padded = tiled_ ? blocks() * kTileInputs : (inputs + 3) / 4 * 4;
        return size_t(group_outputs()) * padded;
    }
    size_t runs() const { return (group_bytes() + 4 * kRun - 1) / (4 * kRun); }
    size_t kept_bytes() const { return tiled_ ? runs() * kRun : group_bytes(); }

    // Where a trit lies in its group.
    size_t place(int o, int k) const {
        const int in_group = o % group_outputs();
        if (!tiled_) return (size_t(k / 4) * kTile + in_group) * 4 + k % 4;
        const size_t tile = size_t(in_group / kTileOutputs) * blocks() + k / kTileInputs;
        return (tile * kTileOutputs + in_group % kTileOutputs) * kTileInputs + k % kTileInputs;
    }

    // The trits of a group that is kept in 2 bits, plus 1; 0 beyond the last output and input.
    const uint8_t* unpacked(int group, uint8_t* panel) const {
        constexpr int kVecs = kRun / kVectorBytes;
        const IVec* packed = reinterpret_cast<const IVec*>(bytes_.get() + group * kept_bytes());
        IVec* out = reinterpret_cast<IVec*>(panel);
        for (size_t run = 0, count = runs(); run < count; ++run, packed += kVecs, out += 4 * kVecs)
#pragma GCC unroll 4
            for (int i = 0; i < kVecs; ++i)
#pragma GCC unroll 4
                for (int s = 0; s < 4; ++s) out[s * kVecs + i] = (packed[i] >> (2 * s)) & 0x03030303;
        return panel;
    }

    // Calls take(output, sums [lane] of (trit + 1) * code) for every output.
    template <class Take>
    void each_output(const Codes& codes, Take&& take) const {
        alignas(64) int32_t acc[(kTile > 2 * kTileOutputs ? kTile : 2 * kTileOutputs) * kLanes];
        const auto hand_over = [&](int group) {
            const int first = group * group_outputs();
            const int used = outputs - first < group_outputs() ? outputs - first : group_outputs();
            for (int r = 0; r < used; ++r) take(first + r, acc + r * kLanes);
        };
#if defined(TINYALIGN_AMX)
        if (tiled_) {
            const Tiles tiles;
            for (int group = 0; group < groups(); ++group) {
                const uint8_t* w = unpacked(group, codes.panel.get());
                tiles.multiply(w, codes.codes.get(), blocks(), acc);
                hand_over(group);
            }
            return;
        }
#endif
        for (int group = 0; group < groups(); ++group) {
            integer_tile(bytes_.get() + group * group_bytes(), codes.codes.get(), (inputs + 3) / 4, acc);
            hand_over(group);
        }
    }

    Array<float> weights_;   // [tile][inputs][kTile]
    Array<uint8_t> bytes_;   // [group][kept_bytes], trit + 1; in 2 bits byte i of a run holds i, i + kRun, ..
    Array<float> bias_;      // [outputs], or empty
    float scale_ = 1.0f;
    bool tiled_ = false;
};

}  // namespace tinyalign
