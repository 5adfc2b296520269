// Numbers of 32 stories side by side: a row holds one number of each story, a lane belongs to one story.
// Everything here works lane by lane, so what a story gets never depends on its neighbours.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace tinyalign {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kRegisters = 16;
#else
constexpr int kVectorBytes = 16, kRegisters = 16;
#endif

constexpr int kLanes = 32;
constexpr int kWidth = kVectorBytes / 4;
constexpr int kVectors = kLanes / kWidth;

typedef float Vec __attribute__((vector_size(kVectorBytes), may_alias));
typedef int32_t IVec __attribute__((vector_size(kVectorBytes), may_alias));

inline Vec splat(float value) { return Vec{} + value; }
inline const Vec* row(const float* rows, size_t index) {
    return reinterpret_cast<const Vec*>(rows + index * kLanes);
}
inline Vec* row(float* rows, size_t index) { return reinterpret_cast<Vec*>(rows + index * kLanes); }

// A bit for each lane of a vector of comparisons.
inline uint32_t mask_of(IVec seen) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(reinterpret_cast<__m512i&>(seen), reinterpret_cast<__m512i&>(seen));
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps(reinterpret_cast<__m256&>(seen)));
#else
    uint32_t bits = 0;
    for (int l = 0; l < kWidth; ++l) bits |= uint32_t(seen[l] & 1) << l;
    return bits;
#endif
}

// Memory on cache lines, zeroed: lanes that no story uses hold finite numbers. Not inlined: constructors are long
// enough to compile.
template <class T>
class Array {
public:
    Array() = default;
    explicit Array(size_t size) { resize(size); }
    ~Array() { release(); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    Array(Array&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    __attribute__((noinline)) void resize(size_t size) {
        release();
        data_ = static_cast<T*>(::operator new(size * sizeof(T) + 64, std::align_val_t(64)));
        std::memset(static_cast<void*>(data_), 0, size * sizeof(T) + 64);
        size_ = size;
    }
    T* get() { return data_; }
    const T* get() const { return data_; }
    T& operator[](size_t index) { return data_[index]; }
    const T& operator[](size_t index) const { return data_[index]; }
    size_t size() const { return size_; }

private:
    __attribute__((noinline)) void release() {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t(64));
        data_ = nullptr;
    }
    T* data_ = nullptr;
    size_t size_ = 0;
};

// e^c / 2^k where k is the integer nearest to c / log 2 (range reduction and polynomial of Cephes' expf, S. Moshier).
inline Vec fraction_of_power(Vec c, Vec k) {
    Vec r = c - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    Vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r + 1.0f;
}

// `exponential`: e^x to about 2 units in the last place; exactly 0 below -87, e^87 above 87, NaN stays NaN.
// `quotient`: a / b for b from 1 to e^87 + 1, with AVX-512 not by the processor's slow division but from an
// approximation of 1 / b by Newton's method and Markstein's last step: off by a unit in the last place at most.
#if defined(__AVX512F__)
inline Vec exponential(Vec x) {
    const __m512 least = _mm512_min_ps(_mm512_set1_ps(87.0f), reinterpret_cast<const __m512&>(x));
    const Vec c = reinterpret_cast<const Vec&>(least);
    // Adding 1.5 * 2^23 rounds to the nearest integer.
    const Vec k = (c * 1.44269504f + 12582912.0f) - 12582912.0f, fraction = fraction_of_power(c, k);
    const __mmask16 counts = _mm512_cmp_ps_mask(least, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
    const __m512 result = _mm512_maskz_scalef_ps(counts, reinterpret_cast<const __m512&>(fraction),
                                                 reinterpret_cast<const __m512&>(k));
    return reinterpret_cast<const Vec&>(result);
}

inline Vec quotient(Vec a, Vec b) {
    const __m512 about = _mm512_rcp14_ps(reinterpret_cast<const __m512&>(b));
    Vec inverse = reinterpret_cast<const Vec&>(about);
    inverse = inverse + inverse * (1.0f - b * inverse);
    const Vec first = a * inverse;
    return first + inverse * (a - b * first);
}
#else
inline Vec exponential(Vec x) {
    const Vec low = splat(-87.0f), high = splat(87.0f);
    const IVec under = x < low;
    Vec c = under ? low : x;
    c = c > high ? high : c;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const Vec shifted = c * 1.44269504f + 12582912.0f;
    const IVec exponent = reinterpret_cast<const IVec&>(shifted) - 0x4B400000;
    const IVec power = (exponent + 127) << 23;
    const Vec result = fraction_of_power(c, shifted - 12582912.0f) * reinterpret_cast<const Vec&>(power);
    return under ? Vec{} : result;
}

inline Vec quotient(Vec a, Vec b) { return a / b; }
#endif

}  // namespace tinyalign
