// What the kernel takes from the machine: a warp's collectives and the int8 tensor-core product.
// With TA_EMULATED the same sources are compiled as C++ for a CPU, and "emulated.h" stands for CUDA.
#pragma once
#ifdef TA_EMULATED
#include "emulated.h"
#else

typedef unsigned char uint8;
typedef signed char int8;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;

#ifndef INFINITY
#define INFINITY __int_as_float(0x7F800000)
#endif

#define TA_CALL __noinline__
#define TA_SHARED(name) extern __shared__ __align__(16) uint8 name[]

// d += A B for A u8 [16 outputs][32 inputs], B s8 [32 inputs][8 stories], in the fragments of PTX's
// mma.m16n8k32: lane 4g + t holds outputs g and g + 8, inputs 4t.. and 16 + 4t.., stories 2t and 2t + 1.
__device__ __forceinline__ void multiply(int (&d)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d += A B for tf32 A [16 outputs][8 inputs], B [8 inputs][8 stories], as mma.m16n8k8 has them: lane 4g + t holds
// outputs g and g + 8, inputs t and t + 4, stories 2t and 2t + 1.
__device__ __forceinline__ void multiply(float (&d)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The nearest number of 11 significant bits.
__device__ __forceinline__ uint32 to_tf32(float x) {
    uint32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
#endif

constexpr uint32 kAll = 0xFFFFFFFFu;

__device__ __forceinline__ int lane_id() { return threadIdx.x & 31; }
__device__ __forceinline__ int warp_id() { return threadIdx.x >> 5; }

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) value += __shfl_xor_sync(kAll, value, mask);
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, __shfl_xor_sync(kAll, value, mask));
    return value;
}
