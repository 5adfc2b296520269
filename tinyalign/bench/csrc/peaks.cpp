// What one core can do at most: fp32 multiply-adds, int8 multiply-adds, bytes read from memory.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AMX_INT8__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
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

// Multiply-adds of 8-bit numbers in the matrix unit (tdpbusd); -1 without AMX, or where the system keeps it back.
int64_t peak_amx(int64_t rounds) {
#if defined(__AMX_INT8__) && defined(__AMX_TILE__) && defined(__linux__)
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return -1;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    struct alignas(64) {
        uint8_t palette = 1, start = 0, unused[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; ++i) shape.bytes[i] = 64, shape.rows[i] = 16;
    alignas(64) int32_t sums[256];
    std::memset(sums, 1, sizeof sums);
    // GCC takes it that of this only the first bytes are read, and may leave out the others.
    asm volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
    // The loop does not load: sums in four tiles, numbers in the other four.
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, sums, 64);
    _tile_loadd(5, sums, 64);
    _tile_loadd(6, sums, 64);
    _tile_loadd(7, sums, 64);
    // A turn has a hundred times as many multiply-adds as one of the other loops.
    const int64_t turns = rounds / 100;
    for (int64_t r = 0; r < turns; ++r) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    sink = static_cast<float>(sums[0]);
    return turns * 4 * 16 * 16 * 64;
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
