// y = x W^T of packed trits W, read as they lie: the C interface that tinyalign/ternary/cpu.py calls.
#include <algorithm>
#include <cmath>
#include <exception>
#include <system_error>
#include <thread>

#include "tile.h"

using namespace tinyalign;

namespace {

// Rows of W follow one another without gaps, so that one may begin inside a byte.
struct Weights {
    const uint8_t* packed;
    int64_t bytes, outputs, inputs;
};

// x as floats, to be quantised, or as int8 codes. y = sums * (scale of the token * `scale`) + bias, or with
// codes the sums alone.
struct Job {
    Weights w;
    const float* floats;
    const int8_t* codes;
    int64_t tokens;
    float scale;
    const float* bias;
    float* y;
};

// Tokens whose codes are arranged together, so that they stay in the second cache.
constexpr int64_t kChunk = 512;

// The 8 bytes from `at` on, as far as there are so many.
inline uint64_t eight_bytes(const Weights& w, int64_t at) {
    uint64_t found = 0;
    if (at + 8 <= w.bytes)
        std::memcpy(&found, w.packed + at, 8);
    else if (at < w.bytes)
        std::memcpy(&found, w.packed + at, size_t(w.bytes - at));
    return found;
}

// A chunk of tokens as the product reads it: tiles of 16 or 8 tokens, then of 4, 2 and 1.
template <int kPerByte>
struct Chunk {
    using P = Packing<kPerByte>;

    Chunk(const Job& job, int64_t first, int64_t count) : first(first), count(count) {
        const int64_t steps = P::steps(job.w.inputs);
        x.resize(size_t(steps * count));
        scale.resize(size_t(count)), sum.resize(size_t(count));
        Token token;
        token.codes.resize(size_t(P::dwords(job.w.inputs) * P::kBlock));
        each([&](int64_t begin, auto tokens) {
            for (int t = 0; t < tokens; ++t) {
                const int64_t at = (first + begin + t) * job.w.inputs;
                if (job.codes != nullptr)
                    std::memcpy(token.codes.data(), job.codes + at, size_t(job.w.inputs));
                else
                    quantise(job.floats + at, job.w.inputs, token);
                scale[begin + t] = token.scale * job.scale;
                sum[begin + t] = arrange<kPerByte, decltype(tokens)::value>(token.codes.data(), job.w.inputs, t,
                                                                            x.data() + begin * steps);
            }
        });
    }

    // Calls visit(first token, integral constant of how many) for every tile.
    template <class Visit>
    void each(Visit&& visit) const {
        int64_t t = 0;
        for (; count - t >= kMostTokens; t += kMostTokens) visit(t, std::integral_constant<int, kMostTokens>());
        if (kMostTokens > 8 && count - t >= 8) visit(t, std::integral_constant<int, 8>()), t += 8;
        if (count - t >= 4) visit(t, std::integral_constant<int, 4>()), t += 4;
        if (count - t >= 2) visit(t, std::integral_constant<int, 2>()), t += 2;
        if (count - t >= 1) visit(t, std::integral_constant<int, 1>());
    }

    const int64_t first, count;
    std::vector<uint32_t> x;  // tiles of [step][tokens of the tile][4]
    std::vector<float> scale;
    std::vector<int32_t> sum;
};

// `used` rows of weights from row `first` on, [dword][kOutputs]; in `bad` two ones side by side are a digit 3.
template <int kPerByte>
void take_shifted(const Weights& w, int64_t first, int used, int64_t dwords, uint32_t* rows, uint32_t* bad) {
    using P = Packing<kPerByte>;
    const int64_t last = (w.inputs - (dwords - 1) * P::kBlock) * P::kBits;  // bits in a row's last dword
    for (int o = 0; o < used; ++o) {
        const int64_t bit = (first + o) * w.inputs * P::kBits;
        for (int64_t d = 0; d < dwords; ++d) {
            const int64_t at = bit + d * 32;
            uint32_t row = uint32_t(eight_bytes(w, at >> 3) >> (at & 7));
            if (d == dwords - 1) row &= uint32_t((uint64_t(1) << last) - 1);
            bad[o] |= row & (row >> 1);
            rows[d * kOutputs + o] = row;
        }
    }
}

// The same of rows that are whole dwords.
inline void take_whole(const Weights& w, int64_t first, int used, int64_t dwords, uint32_t* rows, uint32_t* bad) {
    const uint8_t* from = w.packed + first * dwords * 4;
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
    alignas(64) int32_t at[kOutputs];
    for (int o = 0; o < kOutputs; ++o) at[o] = int32_t((o < used ? o : used - 1) * dwords);
    const __m512i places = _mm512_load_si512(at);
    __m512i broken = _mm512_setzero_si512();
    for (int64_t d = 0; d < dwords; ++d, from += 4, rows += kOutputs) {
        const __m512i row = _mm512_i32gather_epi32(places, from, 4);
        broken = _mm512_or_si512(broken, _mm512_and_si512(row, _mm512_srli_epi32(row, 1)));
        _mm512_storeu_si512(rows, row);
    }
    _mm512_storeu_si512(bad, broken);
#else
    for (int o = 0; o < used; ++o)
        for (int64_t d = 0; d < dwords; ++d) {
            uint32_t row;
            std::memcpy(&row, from + (o * dwords + d) * 4, 4);
            bad[o] |= row & (row >> 1);
            rows[d * kOutputs + o] = row;
        }
#endif
}

// The outputs from `begin` to `end` of a chunk; `rows` [dword][kOutputs] is filled with the weights of some.
template <int kPerByte>
void outputs_of(const Job& job, const Chunk<kPerByte>& chunk, int64_t begin, int64_t end, uint32_t* rows) {
    using P = Packing<kPerByte>;
    const Weights& w = job.w;
    const int64_t dwords = P::dwords(w.inputs), steps = dwords * kPerByte;
    alignas(64) int32_t sums[kMostTokens * kOutputs];
    for (int64_t first = begin; first < end; first += kOutputs) {
        const int used = int(std::min<int64_t>(kOutputs, end - first));
        alignas(64) float bias[kOutputs] = {}, spoil[kOutputs] = {};
        if (job.bias != nullptr) std::memcpy(bias, job.bias + first, size_t(used) * sizeof(float));
        uint32_t bad[kOutputs] = {};
        if (w.inputs % P::kBlock == 0)
            take_whole(w, first, used, dwords, rows, bad);
        else
            take_shifted<kPerByte>(w, first, used, dwords, rows, bad);
        // The digit 3 is no trit: as in the reference, what is made of it is not a number.
        for (int o = 0; o < used; ++o)
            if (kPerByte == 4 && (bad[o] & 0x55555555u) != 0) spoil[o] = NAN;
        chunk.each([&](int64_t token, auto tokens) {
            constexpr int kTokens = decltype(tokens)::value;
            multiply<kPerByte, kTokens>(rows, chunk.x.data() + token * steps, dwords, sums);
            for (int t = 0; t < kTokens; ++t) {
                alignas(64) float out[kOutputs];
                const int32_t sum = chunk.sum[token + t];
                for (int o = 0; o < kOutputs; ++o)
                    out[o] = float(sums[t * kOutputs + o] * (kPerByte == 4 ? 1 : 2) - sum) + spoil[o];
                if (job.codes == nullptr)
                    for (int o = 0; o < kOutputs; ++o) out[o] *= chunk.scale[token + t];
                if (job.bias != nullptr)
                    for (int o = 0; o < kOutputs; ++o) out[o] += bias[o];
                float* y = job.y + (chunk.first + token + t) * w.outputs + first;
                if (used == kOutputs)
                    std::memcpy(y, out, sizeof out);
                else
                    std::memcpy(y, out, size_t(used) * sizeof(float));
            }
        });
    }
}

template <int kPerByte>
void run(const Job& job, int threads) {
    const int64_t groups = (job.w.outputs + kOutputs - 1) / kOutputs;
    const size_t size = size_t(Packing<kPerByte>::dwords(job.w.inputs) * kOutputs);
    std::vector<uint32_t> rows(size * size_t(threads));  // threads themselves take no memory
    std::vector<std::thread> helpers;
    helpers.reserve(size_t(threads));
    for (int64_t first = 0; first < job.tokens; first += kChunk) {
        const Chunk<kPerByte> chunk(job, first, std::min(kChunk, job.tokens - first));
        const auto part = [&](int64_t i) {
            const int64_t begin = groups * i / threads * kOutputs, end = groups * (i + 1) / threads * kOutputs;
            outputs_of(job, chunk, begin, std::min(end, job.w.outputs), rows.data() + size * size_t(i));
        };
        for (int i = 1; i < threads; ++i) {
            try {
                helpers.emplace_back(part, i);
            } catch (const std::system_error&) {
                part(i);  // the system gives no more threads
            }
        }
        part(0);
        for (auto& helper : helpers) helper.join();
        helpers.clear();
    }
}

int guarded(const Job& job, int per_byte, int threads) {
    try {
        per_byte == 4 ? run<4>(job, threads) : run<8>(job, threads);
        return 0;
    } catch (const std::exception&) {
        return -2;
    }
}

}  // namespace

extern "C" {

// "avx512vnni", "avx2" or "portable": what the compiler was allowed to use.
const char* ta_ternary_instructions() {
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
    return "avx512vnni";
#elif defined(__AVX2__)
    return "avx2";
#else
    return "portable";
#endif
}

// y [tokens, outputs] = codes [tokens, inputs] times the trits [outputs, inputs]; -2 where memory runs out.
int ta_ternary_sums(const int8_t* codes, int64_t tokens, const uint8_t* packed, int64_t bytes, int64_t outputs,
                    int64_t inputs, int per_byte, float* y, int threads) {
    return guarded({{packed, bytes, outputs, inputs}, nullptr, codes, tokens, 1.0f, nullptr, y}, per_byte, threads);
}

// The same of x quantised to int8 a token, times the scales, with `bias` [outputs] added where it isn't null.
int ta_ternary_linear(const float* x, int64_t tokens, const uint8_t* packed, int64_t bytes, int64_t outputs,
                      int64_t inputs, int per_byte, const float* scale, const float* bias, float* y,
                      int threads) {
    return guarded({{packed, bytes, outputs, inputs}, x, nullptr, tokens, *scale, bias, y}, per_byte, threads);
}

}  // extern "C"
