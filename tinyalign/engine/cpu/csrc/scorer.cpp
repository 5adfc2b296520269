// Reading and scoring given texts, and parts on their own for tests, as tinyalign/engine/cpu/native.py calls them.
#include "score.h"

#include "interface.h"

extern "C" {

// Logits [count][vocab] of a text of `count` tokens.
int ta_logits(const Model* m, const int32_t* tokens, int count, float* out) {
    return guarded([&] {
        Activations activations(*m, count);
        PathCache cache(*m, count);
        std::vector<Node> nodes;
        for (int p = 0; p < count; ++p) nodes.push_back({tokens[p], p});
        const int vocab = m->shape.vocab;
        cache.read(nodes.data(), count, activations, [&](int64_t first, int used) {
            unembed(*m, activations.x.get(), activations);
            for (int l = 0; l < used; ++l)
                for (int t = 0; t < vocab; ++t)
                    out[size_t(first + l) * vocab + t] = activations.logits[size_t(t) * kLanes + l];
        });
        return 0;
    });
}

// Scores sequences `first` to `last` (see `Sequences`); -1 where logits are not finite.
int ta_score(const Model* m, const Sequences* sequences, int64_t first, int64_t last) {
    return guarded([&] { return Scorer(*m, *sequences, first, last).run() ? 0 : -1; });
}

// For tests: int8 codes [32][columns] of x [32][columns], their scales [32], and the exact sums [32][rows].
int ta_integers(const int8_t* trits, int rows, int columns, const float* x, int8_t* codes, float* scales,
                int32_t* sums) {
    return guarded([&] {
        Linear linear;
        linear.set_ternary(trits, 1.0f, rows, columns);
        Array<float> lanes(size_t(columns) * kLanes);
        for (int l = 0; l < kLanes; ++l)
            for (int k = 0; k < columns; ++k) lanes[size_t(k) * kLanes + l] = x[size_t(l) * columns + k];
        Codes quantised;
        quantised.resize(columns);
        quantise(lanes.get(), columns, quantised);
        Array<int32_t> found(size_t(rows) * kLanes);
        linear.integers(quantised, found.get());
        for (int l = 0; l < kLanes; ++l) {
            scales[l] = quantised.scale[l];
            for (int k = 0; k < columns; ++k)
                codes[size_t(l) * columns + k] = quantised.codes[(size_t(k / 4) * kLanes + l) * 4 + k % 4];
            for (int o = 0; o < rows; ++o) sums[size_t(l) * rows + o] = found[size_t(o) * kLanes + l];
        }
        return 0;
    });
}

// For tests: e^x and x / (e^x + 1) of `count` numbers, a multiple of 32.
void ta_elementwise(const float* x, int count, float* powers, float* quotients) {
    for (int i = 0; i < count; i += kWidth) {
        Vec in;
        std::memcpy(&in, x + i, sizeof in);
        const Vec power = exponential(in), ratio = quotient(in, power + 1.0f);
        std::memcpy(powers + i, &power, sizeof power);
        std::memcpy(quotients + i, &ratio, sizeof ratio);
    }
}

// For tests: the token of each lane for logits [vocab][32] and uniforms [32]; -1 where logits can't be used.
int ta_choose(const float* logits, int vocab, const Draw* draw, const double* u, int32_t* out) {
    return guarded([&] {
        Array<float> lanes(size_t(vocab) * kLanes);
        std::memcpy(lanes.get(), logits, size_t(vocab) * kLanes * sizeof(float));
        Largest largest;
        find_largest(lanes.get(), vocab, largest);
        bool draws[kLanes];
        for (int l = 0; l < kLanes; ++l) draws[l] = largest.usable[l], out[l] = -1;
        Sampler(vocab).choose(lanes.get(), largest, *draw, draws, u, out);
        return 0;
    });
}

}  // extern "C"
