// Keys and values of 32 stories as int8 with a scale for each token, head and lane: a quarter of the memory.
#pragma once
#include "attention.h"

namespace tinyalign {

// Integer products of all lanes of a vector. Pairs of products must fit int16 where the processor adds them so:
// 2 * 255 * 63, therefore queries have 7 bits.
#if defined(__AVX512BW__)
typedef __m512i Bytes;
inline __m512i load(const void* at) { return _mm512_loadu_si512(at); }
inline __m512i dot4(__m512i sum, __m512i u8, __m512i s8) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, u8, s8);
#else
    const __m512i pairs = _mm512_maddubs_epi16(u8, s8);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}
inline __m512i dot2(__m512i sum, const int8_t* s8, __m512i s16) {
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(s8)));
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, wide, s16);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(wide, s16));
#endif
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
typedef __m256i Bytes;
inline __m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline __m256i dot4(__m256i sum, __m256i u8, __m256i s8) {
    const __m256i pairs = _mm256_maddubs_epi16(u8, s8);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline __m256i dot2(__m256i sum, const int8_t* s8, __m256i s16) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(s8)));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(wide, s16));
}
#else
typedef IVec Bytes;
inline IVec load(const void* at) {
    IVec found;
    std::memcpy(&found, at, sizeof found);
    return found;
}
inline IVec dot4(IVec sum, IVec u8, IVec s8) {
    for (int shift = 0; shift < 32; shift += 8) sum += ((u8 >> shift) & 255) * ((s8 << (24 - shift)) >> 24);
    return sum;
}
inline IVec dot2(IVec sum, const int8_t* s8, IVec s16) {
    for (int l = 0; l < kWidth; ++l)
        sum[l] += s8[2 * l] * int32_t(int16_t(s16[l])) + s8[2 * l + 1] * (s16[l] >> 16);
    return sum;
}
#endif

// Keys u8 (code + 128) [layer][kv head][slot][d_head / 4][lane][4], values int8 [..][slot / 2][d_head][lane][2],
// scales [..][slot][lane]. Scores are int8 x 7 bits, softmax weights have 13 to 15 bits: all sums are exact.
class ByteCache : public LaneCache {
public:
    ByteCache(const Model& m, int capacity)
        : LaneCache(m, capacity), slots_(capacity + capacity % 2), fours_((m.shape.d_head + 3) / 4),
          keys_(heads() * slots_ * fours_ * 4 * kLanes), values_(heads() * slots_ * m.shape.d_head * kLanes),
          key_scales_(heads() * slots_ * kLanes), value_scales_(heads() * slots_ * kLanes),
          query_(size_t(fours_) * 4 * kLanes), codes_(size_t(m.shape.d_head) * kLanes),
          weights_(size_t(slots_) * kLanes) {
        // The largest weight with which no sum over the context can leave int32; the same in every run.
        const int64_t fits = (int64_t(1) << 31) / 127 / (m.shape.context + 2);
        most_ = float(fits < 32767 ? fits : 32767);
    }

    static double speed() { return 3.0; }

    void put(int layer, int head, int slot, int lane, const float* k, const float* v) {
        keep<1>(layer, head, slot, lane, k, v);
    }

    void attend(int layer, int slot, const int32_t* lengths, Activations& a) {
        const Shape& s = model_.shape;
        const Sight sight = look(layer, lengths);
        const int group = s.heads / s.kv_heads;
        for (int g = 0; g < s.kv_heads; ++g) {
            const size_t first = size_t(g) * s.d_head * kLanes;
            keep<kLanes>(layer, g, slot, 0, a.k.get() + first, a.v.get() + first);
            for (int h = g * group; h < (g + 1) * group; ++h) mix(layer, g, h, slot, sight, a);
        }
    }

private:
    size_t heads() const { return size_t(model_.shape.layers) * model_.shape.kv_heads; }
    size_t head_of(int layer, int head) const { return size_t(layer) * model_.shape.kv_heads + head; }

    // int8 codes [count][lanes] of x [count][lanes], at most `most`, and what one code is worth in each lane.
    template <int kMany>
    void encode(const float* x, int count, float most, float* worth) {
        alignas(64) float inverse[kMany], poison[kMany];
        for (int l = 0; l < kMany; ++l) worth[l] = 1e-30f, poison[l] = 0.0f;
        for (int d = 0; d < count; ++d)
            for (int l = 0; l < kMany; ++l) {
                const float size = std::fabs(x[size_t(d) * kMany + l]);
                worth[l] = size > worth[l] ? size : worth[l];
                poison[l] += size * 0.0f;  // a maximum can lose a NaN, this sum brings it to the logits
            }
        for (int l = 0; l < kMany; ++l) inverse[l] = most / worth[l], worth[l] = worth[l] / most + poison[l];
        for (int d = 0; d < count; ++d)
            for (int l = 0; l < kMany; ++l)
                codes_[size_t(d) * kMany + l] = int32_t(__builtin_rintf(x[size_t(d) * kMany + l] * inverse[l]));
    }

    // Keeps k and v [d_head][kMany] of the lanes from `lane` on.
    template <int kMany>
    void keep(int layer, int head, int slot, int lane, const float* k, const float* v) {
        const int d_head = model_.shape.d_head;
        const size_t at = head_of(layer, head) * slots_ + slot;
        encode<kMany>(k, d_head, 127.0f, key_scales_.get() + at * kLanes + lane);
        uint32_t* keys = reinterpret_cast<uint32_t*>(keys_.get()) + at * fours_ * kLanes + lane;
        for (int i = 0; i < fours_; ++i)
            for (int l = 0; l < kMany; ++l) {
                uint32_t four = 0;
                for (int j = 0; j < 4 && 4 * i + j < d_head; ++j)
                    four |= uint32_t(codes_[size_t(4 * i + j) * kMany + l] + 128) << (8 * j);
                keys[size_t(i) * kLanes + l] = four;
            }
        encode<kMany>(v, d_head, 127.0f, value_scales_.get() + at * kLanes + lane);
        int8_t* values = values_.get() + (at - slot % 2) * d_head * kLanes + slot % 2;
        for (int d = 0; d < d_head; ++d)
            for (int l = 0; l < kMany; ++l)
                values[(size_t(d) * kLanes + lane + l) * 2] = int8_t(codes_[size_t(d) * kMany + l]);
    }

    // Codes of a head's query, 7 bits, [d_head / 4][lane][4]; `sum` of a lane's codes times 128.
    void read_query(const float* q, float* worth, int32_t* sum) {
        const int d_head = model_.shape.d_head;
        encode<kLanes>(q, d_head, 63.0f, worth);
        for (int l = 0; l < kLanes; ++l) sum[l] = 0;
        uint32_t* query = reinterpret_cast<uint32_t*>(query_.get());
        for (int i = 0; i < fours_; ++i)
            for (int l = 0; l < kLanes; ++l) {
                uint32_t four = 0;
                for (int j = 0; j < 4 && 4 * i + j < d_head; ++j) {
                    const int32_t code = codes_[size_t(4 * i + j) * kLanes + l];
                    four |= uint32_t(code & 255) << (8 * j);
                    sum[l] += code * 128;
                }
                query[size_t(i) * kLanes + l] = four;
            }
    }

    void mix(int layer, int g, int h, int slot, const Sight& sight, Activations& a) {
        const int d_head = model_.shape.d_head, slots = sight.longest;
        alignas(64) float scale[kLanes];
        alignas(64) int32_t sum[kLanes];
        read_query(a.q.get() + size_t(h) * d_head * kLanes, scale, sum);
        const size_t base = head_of(layer, g) * slots_;
        float* scores = a.scores.get();  // [age from the oldest][lane]
        const int oldest = slot - (slots - 1) < 0 ? slot - (slots - 1) + capacity_ : slot - (slots - 1);
        for (int t = 0, at = oldest; t < slots; ++t, at = at + 1 == capacity_ ? 0 : at + 1) {
            const uint8_t* k = keys_.get() + (base + at) * fours_ * 4 * kLanes;
            const int age = slots - 1 - t;
            for (int v = 0; v < kVectors; ++v) {
                Bytes dot{};
                for (int i = 0; i < fours_; ++i) {
                    const size_t place = (size_t(i) * kLanes + v * kWidth) * 4;
                    dot = dot4(dot, load(k + place), load(query_.get() + place));
                }
                const IVec whole = reinterpret_cast<const IVec&>(dot) - reinterpret_cast<const IVec*>(sum)[v];
                const Vec score = __builtin_convertvector(whole, Vec) * reinterpret_cast<const Vec*>(scale)[v] *
                                  row(key_scales_.get(), base + at)[v];
                const IVec length = reinterpret_cast<const IVec*>(sight.length)[v];
                row(scores, t)[v] = length > age ? score : splat(-INFINITY);
            }
        }
        Vec inverse[kVectors];
        softmax(scores, slots, inverse);
        weigh(base, oldest, slots, scores, inverse);
        // The pairs of slots in sight; where the ring closes on one pair, all of it, each pair once.
        const bool wraps = slot < oldest;
        if (wraps && oldest / 2 > slot / 2) {
            sum_values(base, 0, slot / 2 + 1, oldest / 2, slots_ / 2, inverse, h, a);
        } else {
            const int begin = wraps ? 0 : oldest / 2, end = wraps ? slots_ / 2 : slot / 2 + 1;
            sum_values(base, begin, end, 0, 0, inverse, h, a);
        }
    }

    // Softmax weights times the values' scales as 15-bit codes [slot / 2][lane][2], 0 for slots out of sight;
    // `inverse` becomes what one code times one value's code is worth.
    void weigh(size_t base, int oldest, int slots, const float* scores, Vec* inverse) {
        Vec largest[kVectors] = {}, poison[kVectors] = {};
        for (int t = 0, at = oldest; t < slots; ++t, at = at + 1 == capacity_ ? 0 : at + 1)
            for (int v = 0; v < kVectors; ++v) {
                const Vec weight = row(scores, t)[v] * row(value_scales_.get(), base + at)[v];
                largest[v] = weight > largest[v] ? weight : largest[v];
                poison[v] += weight * 0.0f;
            }
        std::memset(weights_.get(), 0, weights_.size() * sizeof(int16_t));
        for (int t = 0, at = oldest; t < slots; ++t, at = at + 1 == capacity_ ? 0 : at + 1)
            for (int v = 0; v < kVectors; ++v) {
                const Vec weight = row(scores, t)[v] * row(value_scales_.get(), base + at)[v];
                // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
                const Vec shifted = weight * (most_ / largest[v]) + 12582912.0f;
                const IVec code = reinterpret_cast<const IVec&>(shifted) - 0x4B400000;
                int16_t* out = weights_.get() + (size_t(at / 2) * kLanes + v * kWidth) * 2 + at % 2;
                for (int w = 0; w < kWidth; ++w) out[2 * w] = int16_t(code[w]);
            }
        for (int v = 0; v < kVectors; ++v) inverse[v] = inverse[v] * largest[v] / most_ + poison[v];
    }

    // a.mixed of head `h` from the pairs of slots [begin, end) and [begin2, end2).
    void sum_values(size_t base, int begin, int end, int begin2, int end2, const Vec* worth, int h,
                    Activations& a) {
        const int d_head = model_.shape.d_head;
        const size_t pair = size_t(2) * d_head * kLanes;
        for (int v = 0; v < kVectors; ++v)
            for (int first = 0; first < d_head; first += 4) {
                const int last = d_head - 1 - first;
                const int8_t* values = values_.get() + base * d_head * kLanes + (size_t(first) * kLanes + v * kWidth) * 2;
                const int16_t* weights = weights_.get() + size_t(v) * kWidth * 2;
                Bytes sum[4] = {};
                for (int part = 0; part < 2; ++part)
                    for (int p = part ? begin2 : begin; p < (part ? end2 : end); ++p) {
                        const Bytes weight = load(weights + size_t(p) * kLanes * 2);
#pragma GCC unroll 4
                        for (int i = 0; i < 4; ++i)
                            sum[i] = dot2(sum[i], values + p * pair + size_t(i < last ? i : last) * kLanes * 2, weight);
                    }
                for (int i = 0; i < 4 && i <= last; ++i)
                    row(a.mixed.get(), size_t(h) * d_head + first + i)[v] =
                        __builtin_convertvector(reinterpret_cast<const IVec&>(sum[i]), Vec) * worth[v];
            }
    }

    const int slots_, fours_;
    Array<uint8_t> keys_;
    Array<int8_t> values_;
    Array<float> key_scales_, value_scales_;
    Array<int8_t> query_;
    Array<int32_t> codes_;
    Array<int16_t> weights_;
    float most_;
};

}  // namespace tinyalign
