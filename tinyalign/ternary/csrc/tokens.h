// int8 activations of some tokens, laid out as a product with packed trits reads them.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace tinyalign {

// A dword of packed weights holds 4 * kPerByte consecutive trits. Shifted right by s digits and masked, its four
// bytes are the trits s, s + kPerByte, .., of which step (dword, s) is made: unpacking needs no shuffle, and
// activations are put in this order once. kPerByte is 4 (2 bits, digit = trit + 1) or 8 (1 bit).
template <int kPerByte>
struct Packing {
    static constexpr int kBits = 8 / kPerByte, kBlock = 4 * kPerByte;
    static constexpr uint32_t kMask = kPerByte == 4 ? 0x03030303u : 0x01010101u;
    static int64_t dwords(int64_t inputs) { return (inputs + kBlock - 1) / kBlock; }
    static int64_t steps(int64_t inputs) { return dwords(inputs) * kPerByte; }
};

// One token's int8 codes, and what the integer sums are to be multiplied by.
struct Token {
    std::vector<int8_t> codes;  // filled with zeros to whole dwords of weights
    float scale;
};

// Absmax to int8, as tinyalign.ternary.quantize has it: round(x * (127 / m)), halves to even, m = max |x|.
inline void quantise(const float* x, int64_t inputs, Token& out) {
    // Without its sign a float is in the order of its bits, a NaN the largest.
    int32_t most = 0;
    for (int64_t k = 0; k < inputs; ++k) {
        int32_t bits;
        std::memcpy(&bits, x + k, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float largest;
    std::memcpy(&largest, &most, 4);
    if (largest < 1e-5f) largest = 1e-5f;
    out.scale = largest / 127.0f;
    if (most >= 0x7f800000) {
        // 0 times infinity and NaN become 0; the scale tells.
        std::memset(out.codes.data(), 0, size_t(inputs));
        return;
    }
    const float inverse = 1.0f / largest * 127.0f;  // so torch computes 127.0 / largest
    for (int64_t k = 0; k < inputs; ++k) {
        // Adding 1.5 * 2^23 rounds to the nearest integer, halves to even, and leaves it in the low bits.
        const float shifted = x[k] * inverse + 12582912.0f;
        int32_t bits;
        std::memcpy(&bits, &shifted, 4);
        out.codes[k] = int8_t(bits - 0x4B400000);
    }
}

// The codes of kTokens tokens [step][kTokens][4] into `out`, of which `token` is one; returns its codes' sum.
template <int kPerByte, int kTokens>
int32_t arrange(const int8_t* codes, int64_t inputs, int token, uint32_t* out) {
    using P = Packing<kPerByte>;
    int32_t sum = 0;
    for (int64_t k = 0; k < inputs; ++k) sum += codes[k];
    out += token;
    for (int64_t d = 0; d < P::dwords(inputs); ++d, codes += P::kBlock) {
        alignas(16) uint32_t found[kPerByte];
#if defined(__SSE2__)
        if (kPerByte == 4) {
            const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
            const __m128i pairs = _mm_unpacklo_epi8(all, _mm_srli_si128(all, 8));
            const __m128i fours = _mm_unpacklo_epi8(pairs, _mm_srli_si128(pairs, 8));
            _mm_store_si128(reinterpret_cast<__m128i*>(found), fours);
        } else {
            const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
            const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16));
            const __m128i a = _mm_unpacklo_epi8(low, _mm_srli_si128(low, 8));
            const __m128i b = _mm_unpacklo_epi8(high, _mm_srli_si128(high, 8));
            _mm_store_si128(reinterpret_cast<__m128i*>(found), _mm_unpacklo_epi16(a, b));
            _mm_store_si128(reinterpret_cast<__m128i*>(found) + 1 % (kPerByte / 4), _mm_unpackhi_epi16(a, b));
        }
#else
        for (int s = 0; s < kPerByte; ++s) {
            found[s] = 0;
            for (int i = 0; i < 4; ++i) found[s] |= uint32_t(uint8_t(codes[i * kPerByte + s])) << (8 * i);
        }
#endif
        for (int s = 0; s < kPerByte; ++s) out[(d * kPerByte + s) * kTokens] = found[s];
    }
    return sum;
}

}  // namespace tinyalign
