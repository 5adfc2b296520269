// The C interface that tinyalign/engine/cpu/native.py calls. Null or -2 means that memory ran out.
#include "score.h"
#include "session.h"

using namespace tinyalign;

namespace {

// The order of `PARTS` in native.py.
enum Part { kQ, kK, kV, kO, kGate, kUp, kDown, kUnembedding };

Linear& part_of(Model& m, int layer, int part) {
    if (part == kUnembedding) return m.unembedding;
    Layer& l = m.layers[layer];
    Linear* all[] = {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down};
    return *all[part];
}

template <class Work>
int guarded(Work&& work) {
    try {
        return work();
    } catch (const std::exception&) {
        return -2;
    }
}

}  // namespace

extern "C" {

// "amx", "avx512vnni", "avx512f", "avx2" or "portable": what the compiler was allowed to use.
const char* ta_instructions() {
    if (tiles_allowed()) return "amx";
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
    return "avx512vnni";
#elif defined(__AVX512F__)
    return "avx512f";
#elif defined(__AVX2__)
    return "avx2";
#else
    return "portable";
#endif
}

Model* ta_model(const Shape* shape) {
    try {
        return new Model(*shape);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void ta_model_free(Model* model) { delete model; }

int ta_set_vector(Model* m, int name, int layer, const float* values, int64_t size) {
    return guarded([&] {
        Layer* l = &m->layers[layer];
        std::vector<float>* all[] = {&m->embedding, &m->norm.gain, &m->norm.bias, &m->cosines, &m->sines,
                                     &m->positions, &l->attention_norm.gain, &l->attention_norm.bias,
                                     &l->mlp_norm.gain, &l->mlp_norm.bias};
        all[name]->assign(values, values + size);
        return 0;
    });
}

// Attention of `layer` sees `window` tokens, or all for 0.
void ta_set_window(Model* m, int layer, int window) { m->layers[layer].window = window; }

int ta_set_bias(Model* m, int layer, int part, const float* bias, int rows) {
    return guarded([&] { return part_of(*m, layer, part).set_bias(bias, rows), 0; });
}

int ta_set_float(Model* m, int layer, int part, const float* weight, int rows, int columns) {
    return guarded([&] { return part_of(*m, layer, part).set_float(weight, rows, columns), 0; });
}

int ta_set_ternary(Model* m, int layer, int part, const int8_t* trits, float scale, int rows, int columns) {
    return guarded([&] { return part_of(*m, layer, part).set_ternary(trits, scale, rows, columns), 0; });
}

Session* ta_session(const Model* model, const Job* job, int threads) {
    try {
        return new Session(*model, *job, threads);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void ta_session_free(Session* session) { delete session; }

int ta_run(Session* session, int steps) {
    return guarded([&] { return session->run(steps); });
}

void ta_stop(Session* session, int64_t story) { session->stop(story); }

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
