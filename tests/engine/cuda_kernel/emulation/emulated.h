// CUDA for a CPU: the threads of a block are fibers that run one at a time and change over at barriers and warp
// collectives only, in an order that a seed shuffles. Lanes don't run in step, so what a kernel gets without the
// barrier it needs depends on the order, and tests that compare orders see it.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

typedef unsigned char uint8;
typedef signed char int8;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define TA_CALL
#define TA_SHARED(name) uint8* name = emulated::shared_memory()

struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emulated {

struct Index {
    int x;
};
extern Index thread_index, block_index;

uint8* shared_memory();
void block_barrier();
// Leaves `value` for the warp and gives what lane `from` left; all lanes must ask for the same `kind`.
uint64 exchange(uint64 value, int from, int kind);
// The same of six words, all lanes' at once: [lane][word].
const uint32 (*gather(const uint32 (&words)[6]))[6];
// The values that all lanes left, bit by bit.
uint32 ballot(bool value);

template <class T>
inline T shuffled(T value, int from, int kind) {
    uint64 bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, from, kind);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index

inline void __syncthreads() { emulated::block_barrier(); }
inline void __syncwarp() { emulated::exchange(0, 0, 1); }
template <class T>
inline T __shfl_xor_sync(uint32, T value, int mask) {
    return emulated::shuffled(value, (threadIdx.x & 31) ^ mask, 2);
}
template <class T>
inline T __shfl_up_sync(uint32, T value, int step) {
    const int lane = threadIdx.x & 31;
    return emulated::shuffled(value, lane < step ? lane : lane - step, 3);
}
inline uint32 __ballot_sync(uint32, bool value) { return emulated::ballot(value); }

inline int atomicAdd(int* at, int value) {
    const int before = *at;
    *at += value;
    return before;
}
inline int __popc(uint32 x) { return __builtin_popcount(x); }
inline int __ffs(uint32 x) { return __builtin_ffs(int(x)); }
inline int __clz(uint32 x) { return x ? __builtin_clz(x) : 32; }
inline uint32 __float_as_uint(float x) {
    uint32 bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(uint32 bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline uint32 __byte_perm(uint32 x, uint32 y, uint32 selector) {
    const uint64 bytes = uint64(y) << 32 | x;
    uint32 found = 0;
    for (int i = 0; i < 4; ++i) found |= uint32(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return found;
}
inline uint32 to_tf32(float x) {
    const uint32 bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000u) & 0xFFFFE000u : bits;
}

// The tensor-core products, from the fragments that the lanes hold as PTX's manual lays them out.
inline void multiply(int (&d)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const uint32 own[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const uint32(*lanes)[6] = emulated::gather(own);
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 32; ++k) {
            // Outputs g and g + 8, stories 2t and 2t + 1; a lane's words hold inputs 4t.. and 16 + 4t..
            const uint32 weights = lanes[4 * g + k % 16 / 4][k / 16 * 2 + i / 2];
            const uint32 codes = lanes[4 * (2 * t + i % 2) + k % 16 / 4][4 + k / 16];
            d[i] += int(weights >> 8 * (k % 4) & 255) * int(int8(codes >> 8 * (k % 4) & 255));
        }
}
inline void multiply(float (&d)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const uint32 own[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const uint32(*lanes)[6] = emulated::gather(own);
    for (int i = 0; i < 4; ++i) {
        double sum = d[i];
        for (int k = 0; k < 8; ++k) {
            // A lane's words hold inputs t and t + 4.
            const uint32 weight = lanes[4 * g + k % 4][k / 4 * 2 + i / 2];
            const uint32 x = lanes[4 * (2 * t + i % 2) + k % 4][4 + k / 4];
            if ((weight | x) & 0x1FFFu && std::isfinite(__uint_as_float(weight) + __uint_as_float(x)))
                std::abort();  // more bits than tensor cores read
            sum += double(__uint_as_float(weight)) * double(__uint_as_float(x));
        }
        // Rounded toward zero, as tensor cores do.
        const float nearest = float(sum);
        const bool beyond = std::fabs(double(nearest)) > std::fabs(sum);
        d[i] = beyond && std::isfinite(sum) ? std::nextafterf(nearest, 0.0f) : nearest;
    }
}
