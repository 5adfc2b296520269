// What one core can do at most: fp32 multiply-adds, int8 multiply-adds, bytes read from memory.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {
#if defined(__AVX512F__)
constexpr int kFloats = 16;
#elif defined(__AVX__)
constexpr int kFloats = 8;
#else
constexpr int kFloats = 4;
#endif
typedef float Floats __attribute__((vector_size(kFloats * 4)));
// Enough independent chains to hide the latency of a multiply-add on every port.
constexpr int kChains = 12;
volatile float sink;
}  // namespace

extern "C" {

// Multiply-adds done in `rounds` turns of the loop.
int64_t peak_fma(int64_t rounds) {
    Floats sums[kChains], a, b;
    for (int i = 0; i < kFloats; ++i) a[i] = 0.999f, b[i] = 1e-6f * i;
    for (auto& sum : sums) sum = b;
    for (int64_t r = 0; r < rounds; ++r) {
        for (auto& sum : sums) sum = sum * a + b;
    }
    float total = 0;
    for (auto& sum : sums)
        for (int i = 0; i < kFloats; ++i) total += sum[i];
    sink = total;
    return rounds * kChains * kFloats;
}

// Multiply-adds of 8-bit numbers summed in 16 bits (vpmaddubsw, vpaddw); -1 without AVX2.
int64_t peak_maddubs(int64_t rounds) {
#if defined(__AVX2__)
    __m256i sums[kChains], weights[4];
    const __m256i values = _mm256_set1_epi8(3);
    for (int i = 0; i < 4; ++i) weights[i] = _mm256_set1_epi8(static_cast<char>(i - 1));
    for (auto& sum : sums) sum = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; ++r) {
        for (int i = 0; i < kChains; ++i) {
            __m256i product = _mm256_maddubs_epi16(values, weights[i & 3]);
            // Without this the product, the same in every turn, would be taken out of the loop.
            asm volatile("" : "+x"(product));
            sums[i] = _mm256_add_epi16(sums[i], product);
            asm volatile("" : "+x"(weights[i & 3]));
        }
    }
    int16_t parts[16];
    int total = 0;
    for (auto& sum : sums) {
        std::memcpy(parts, &sum, sizeof parts);
        for (int16_t part : parts) total += part;
    }
    sink = static_cast<float>(total);
    return rounds * kChains * 32;
#else
    (void)rounds;
    return -1;
#endif
}

// Multiply-adds of 8-bit numbers summed in 32 bits at once (vpdpbusd); -1 without AVX-512 VNNI.
int64_t peak_dpbusd(int64_t rounds) {
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
    __m512i sums[kChains], weights[4];
    const __m512i values = _mm512_set1_epi8(3);
    for (int i = 0; i < 4; ++i) weights[i] = _mm512_set1_epi8(static_cast<char>(i - 1));
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_si512();
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
        for (int i = 0; i < kChains; ++i) {
            sums[i] = _mm512_dpbusd_epi32(sums[i], values, weights[i & 3]);
            // Without this GCC copies every sum to another register and back.
            asm volatile("" : "+v"(sums[i]));
        }
    }
    int total = 0;
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) total += _mm512_reduce_add_epi32(sums[i]);
    sink = static_cast<float>(total);
    return rounds * kChains * 64;
#else
    (void)rounds;
    return -1;
#endif
}

// Bytes read from `bytes` of memory, once over; the caller's array is far larger than the caches.
int64_t peak_read(const uint64_t* memory, int64_t bytes) {
    uint64_t sums[8] = {0};
    const int64_t words = bytes / 64 * 8;
    for (int64_t i = 0; i < words; i += 8)
        for (int j = 0; j < 8; ++j) sums[j] += memory[i + j];
    uint64_t total = 0;
    for (uint64_t sum : sums) total += sum;
    sink = static_cast<float>(total);
    return words * 8;
}
}
