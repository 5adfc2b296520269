// The C interface through which tinyalign/engine/cpu/native.py fills a model; every library has it.
// Null or -2 means that memory ran out.
#pragma once
#include "transformer.h"

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

}  // extern "C"
