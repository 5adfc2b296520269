// Exact sums of trits times int8 codes, for some tokens and as many outputs as a vector has 32-bit lanes.
#pragma once
#include "tokens.h"

namespace tinyalign {

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
constexpr int kOutputs = 16;
#else
constexpr int kOutputs = 8;
#endif
// Tokens that share one unpacking of the weights; their sums fill half of the registers.
constexpr int kMostTokens = kOutputs == 16 ? 16 : 8;

// `weights` [dword][kOutputs] packed digits, `x` [step][kTokens][4] codes; `sums` [kTokens][kOutputs] become
// the sums over inputs of digit * code.
template <int kPerByte, int kTokens>
void multiply(const uint32_t* weights, const uint32_t* x, int64_t dwords, int32_t* sums) {
    using P = Packing<kPerByte>;
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
    // With few tokens the digits' places have sums of their own, so that none waits for the one before.
    constexpr int kChains = kTokens > 4 ? 1 : 4;
    const __m512i mask = _mm512_set1_epi32(int(P::kMask));
    __m512i sum[kChains][kTokens];
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c)
#pragma GCC unroll 16
        for (int t = 0; t < kTokens; ++t) sum[c][t] = _mm512_setzero_si512();
    for (int64_t d = 0; d < dwords; ++d, weights += kOutputs) {
        const __m512i packed = _mm512_loadu_si512(weights);
#pragma GCC unroll 8
        for (int s = 0; s < kPerByte; ++s, x += kTokens) {
            const __m512i digits = _mm512_and_si512(_mm512_srli_epi32(packed, unsigned(s * P::kBits)), mask);
#pragma GCC unroll 16
            for (int t = 0; t < kTokens; ++t)
                sum[s % kChains][t] =
                    _mm512_dpbusd_epi32(sum[s % kChains][t], digits, _mm512_set1_epi32(int(x[t])));
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int c = 1; c < kChains; ++c) sum[0][t] = _mm512_add_epi32(sum[0][t], sum[c][t]);
        _mm512_storeu_si512(sums + t * kOutputs, sum[0][t]);
    }
#elif defined(__AVX2__)
    // A pair of products is at most 2 * 2 * 128 = 512 away from 0, so 64 of them fit int16.
    constexpr int64_t kFit = 64 / kPerByte;
    const __m256i mask = _mm256_set1_epi32(int(P::kMask)), ones = _mm256_set1_epi16(1);
    std::memset(sums, 0, sizeof(int32_t) * kTokens * kOutputs);
    for (int64_t begin = 0; begin < dwords; begin += kFit) {
        const int64_t end = begin + kFit < dwords ? begin + kFit : dwords;
        __m256i sum[kTokens];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) sum[t] = _mm256_setzero_si256();
        for (int64_t d = begin; d < end; ++d, weights += kOutputs) {
            const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
#pragma GCC unroll 8
            for (int s = 0; s < kPerByte; ++s, x += kTokens) {
                const __m256i digits = _mm256_and_si256(_mm256_srli_epi32(packed, s * P::kBits), mask);
#pragma GCC unroll 8
                for (int t = 0; t < kTokens; ++t)
                    sum[t] = _mm256_add_epi16(sum[t], _mm256_maddubs_epi16(digits, _mm256_set1_epi32(int(x[t]))));
            }
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            __m256i* total = reinterpret_cast<__m256i*>(sums + t * kOutputs);
            const __m256i wide = _mm256_madd_epi16(sum[t], ones);
            _mm256_storeu_si256(total, _mm256_add_epi32(_mm256_loadu_si256(total), wide));
        }
    }
#else
    std::memset(sums, 0, sizeof(int32_t) * kTokens * kOutputs);
    for (int64_t d = 0; d < dwords; ++d, weights += kOutputs)
        for (int s = 0; s < kPerByte; ++s, x += kTokens)
            for (int i = 0; i < 4; ++i) {
                int32_t digits[kOutputs];
                for (int o = 0; o < kOutputs; ++o)
                    digits[o] = int32_t(weights[o] >> (s * P::kBits + 8 * i)) & ((1 << P::kBits) - 1);
                for (int t = 0; t < kTokens; ++t) {
                    const int32_t code = int8_t(x[t] >> (8 * i));
                    for (int o = 0; o < kOutputs; ++o) sums[t * kOutputs + o] += digits[o] * code;
                }
            }
#endif
}

}  // namespace tinyalign
