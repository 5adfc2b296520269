// A forward pass of Llama or GPT-Neo for 32 lanes at once; what attention looks at is left to the caller.
#pragma once
#include <vector>

#include "linear.h"

namespace tinyalign {

// Llama turns q and k by their position, has RMS norms and a gated MLP; GPT-Neo (`neo`) adds a learned vector
// to every position, has LayerNorms, biases, an MLP of two matrices, and scores that are not scaled.
struct Shape {
    int32_t layers, d_model, heads, kv_heads, d_head, d_mlp, vocab, context, neo;
    float epsilon;
};

struct Norm {
    std::vector<float> gain, bias;
};

struct Layer {
    Linear q, k, v, o, gate, up, down;  // GPT-Neo has no gate
    Norm attention_norm, mlp_norm;
    int window = 0;  // tokens that attention sees, the token itself included; 0: all
};

struct Model {
    explicit Model(const Shape& s) : shape(s), layers(s.layers) {}
    Shape shape;
    std::vector<float> embedding;         // [vocab][d_model]
    std::vector<Layer> layers;
    Norm norm;
    Linear unembedding;
    std::vector<float> cosines, sines;    // Llama: [context][d_head / 2]
    std::vector<float> positions;         // GPT-Neo: [context][d_model]
    int kv_size() const { return shape.kv_heads * shape.d_head; }
    int q_size() const { return shape.heads * shape.d_head; }
};

// The activations of one step, each [numbers][lane].
struct Activations {
    explicit Activations(const Model& m, int slots)
        : x(rows(m.shape.d_model)), normed(rows(m.shape.d_model)), q(rows(m.q_size())), k(rows(m.kv_size())),
          v(rows(m.kv_size())), mixed(rows(m.q_size())), gate(rows(m.shape.d_mlp)), up(rows(m.shape.d_mlp)),
          logits(rows(m.shape.vocab)), cosine(rows(m.shape.d_head / 2)), sine(rows(m.shape.d_head / 2)),
          scores(rows(size_t(slots) * 4 + kLanes)) {
        int widest = m.shape.d_model > m.shape.d_mlp ? m.shape.d_model : m.shape.d_mlp;
        widest = widest > m.q_size() ? widest : m.q_size();
        codes.resize(widest);
    }
    static size_t rows(size_t count) { return count * kLanes; }
    Array<float> x, normed, q, k, v, mixed, gate, up, logits, cosine, sine, scores;
    Codes codes;
    Ahead ahead;
};

inline void rms_norm(const float* x, const Norm& norm, float epsilon, float* out) {
    const int size = int(norm.gain.size());
    alignas(64) float sum[kLanes] = {};
    for (int d = 0; d < size; ++d)
        for (int l = 0; l < kLanes; ++l) sum[l] += x[size_t(d) * kLanes + l] * x[size_t(d) * kLanes + l];
    for (int l = 0; l < kLanes; ++l) sum[l] = 1.0f / __builtin_sqrtf(sum[l] / float(size) + epsilon);
    for (int d = 0; d < size; ++d)
        for (int l = 0; l < kLanes; ++l)
            out[size_t(d) * kLanes + l] = norm.gain[d] * (x[size_t(d) * kLanes + l] * sum[l]);
}

inline void layer_norm(const float* x, const Norm& norm, float epsilon, float* out) {
    const int size = int(norm.gain.size());
    alignas(64) float mean[kLanes] = {}, sum[kLanes] = {};
    for (int d = 0; d < size; ++d)
        for (int l = 0; l < kLanes; ++l) mean[l] += x[size_t(d) * kLanes + l];
    for (int l = 0; l < kLanes; ++l) mean[l] /= float(size);
    for (int d = 0; d < size; ++d)
        for (int l = 0; l < kLanes; ++l) {
            const float off = x[size_t(d) * kLanes + l] - mean[l];
            sum[l] += off * off;
        }
    for (int l = 0; l < kLanes; ++l) sum[l] = 1.0f / __builtin_sqrtf(sum[l] / float(size) + epsilon);
    for (int d = 0; d < size; ++d)
        for (int l = 0; l < kLanes; ++l)
            out[size_t(d) * kLanes + l] =
                norm.gain[d] * ((x[size_t(d) * kLanes + l] - mean[l]) * sum[l]) + norm.bias[d];
}

inline void normalise(const Shape& s, const float* x, const Norm& norm, float* out) {
    if (s.neo)
        layer_norm(x, norm, s.epsilon, out);
    else
        rms_norm(x, norm, s.epsilon, out);
}

// Rotary embedding in Hugging Face's layout (the halves of a head turn together), times `scale`.
inline void rotate(float* heads, int count, int d_head, const float* cosine, const float* sine, float scale) {
    const int half = d_head / 2;
    for (int h = 0; h < count; ++h)
        for (int i = 0; i < half; ++i) {
            float* a = heads + (size_t(h) * d_head + i) * kLanes;
            float* b = a + size_t(half) * kLanes;
            const float* c = cosine + size_t(i) * kLanes;
            const float* s = sine + size_t(i) * kLanes;
            for (int l = 0; l < kLanes; ++l) {
                const float first = a[l], second = b[l];
                a[l] = (first * c[l] - second * s[l]) * scale;
                b[l] = (second * c[l] + first * s[l]) * scale;
            }
        }
}

inline void add(float* x, const float* y, int size) {
    for (size_t i = 0; i < size_t(size) * kLanes; ++i) x[i] += y[i];
}

// gate becomes silu(gate) * up.
inline void gated(float* gate, const float* up, int size) {
    for (int d = 0; d < size; ++d)
        for (int v = 0; v < kVectors; ++v) {
            const Vec g = row(gate, d)[v];
            row(gate, d)[v] = quotient(g, exponential(-g) + 1.0f) * row(up, d)[v];
        }
}

// GELU with tanh ("gelu_new"): x / 2 (1 + tanh u) is x / (1 + e^-2u).
inline void gelu(float* x, int size) {
    for (int d = 0; d < size; ++d)
        for (int v = 0; v < kVectors; ++v) {
            const Vec a = row(x, d)[v];
            const Vec u = (a + a * a * a * 0.044715f) * 0.7978845608f;
            row(x, d)[v] = quotient(a, exponential(u * -2.0f) + 1.0f);
        }
}

inline void embed(const Model& m, Activations& a, const int32_t* tokens, const int32_t* positions) {
    const Shape& s = m.shape;
    const int half = s.d_head / 2;
    for (int l = 0; l < kLanes; ++l) {
        const float* embedded = m.embedding.data() + size_t(tokens[l]) * s.d_model;
        for (int d = 0; d < s.d_model; ++d) a.x[size_t(d) * kLanes + l] = embedded[d];
        if (s.neo) {
            const float* place = m.positions.data() + size_t(positions[l]) * s.d_model;
            for (int d = 0; d < s.d_model; ++d) a.x[size_t(d) * kLanes + l] += place[d];
            continue;
        }
        for (int i = 0; i < half; ++i) {
            a.cosine[size_t(i) * kLanes + l] = m.cosines[size_t(positions[l]) * half + i];
            a.sine[size_t(i) * kLanes + l] = m.sines[size_t(positions[l]) * half + i];
        }
    }
}

// A reference to what attends in a layer, so that the forward pass is compiled once and not for each of them.
class Attend {
public:
    template <class F>
    explicit Attend(const F& attend)
        : attend_(&attend), call_([](const void* self, int layer) { (*static_cast<const F*>(self))(layer); }) {}
    void operator()(int layer) const { call_(attend_, layer); }

private:
    const void* attend_;
    void (*call_)(const void*, int);
};

// a.x [d_model][lane] after all layers, for the lanes' tokens at their positions. `attend(layer)` reads a.q
// (scaled), a.k and a.v of this step, keeps the keys and values, and writes a.mixed [heads * d_head][lane].
__attribute__((noinline)) inline void forward(const Model& m, Activations& a, const int32_t* tokens,
                                              const int32_t* positions, Attend attend) {
    const Shape& s = m.shape;
    embed(m, a, tokens, positions);
    const float scale = 1.0f / __builtin_sqrtf(float(s.d_head));
    for (int layer = 0; layer < s.layers; ++layer) {
        const Layer& w = m.layers[layer];
        normalise(s, a.x.get(), w.attention_norm, a.normed.get());
        if (w.q.ternary || w.k.ternary || w.v.ternary) quantise(a.normed.get(), s.d_model, a.codes);
        w.q.apply(a.normed.get(), a.codes, a.ahead, a.q.get());
        w.k.apply(a.normed.get(), a.codes, a.ahead, a.k.get());
        w.v.apply(a.normed.get(), a.codes, a.ahead, a.v.get());
        if (!s.neo) {
            rotate(a.q.get(), s.heads, s.d_head, a.cosine.get(), a.sine.get(), scale);
            rotate(a.k.get(), s.kv_heads, s.d_head, a.cosine.get(), a.sine.get(), 1.0f);
        }
        attend(layer);
        if (w.o.ternary) quantise(a.mixed.get(), m.q_size(), a.codes);
        w.o.apply(a.mixed.get(), a.codes, a.ahead, a.normed.get());
        add(a.x.get(), a.normed.get(), s.d_model);
        normalise(s, a.x.get(), w.mlp_norm, a.normed.get());
        if ((!s.neo && w.gate.ternary) || w.up.ternary) quantise(a.normed.get(), s.d_model, a.codes);
        w.up.apply(a.normed.get(), a.codes, a.ahead, a.up.get());
        float* inner = s.neo ? a.up.get() : a.gate.get();
        if (s.neo) {
            gelu(inner, s.d_mlp);
        } else {
            w.gate.apply(a.normed.get(), a.codes, a.ahead, inner);
            gated(inner, a.up.get(), s.d_mlp);
        }
        if (w.down.ternary) quantise(inner, s.d_mlp, a.codes);
        w.down.apply(inner, a.codes, a.ahead, a.normed.get());
        add(a.x.get(), a.normed.get(), s.d_model);
    }
}

// a.logits [vocab][lane] of x [d_model][lane] after the last layer.
inline void unembed(const Model& m, const float* x, Activations& a) {
    normalise(m.shape, x, m.norm, a.normed.get());
    if (m.unembedding.ternary) quantise(a.normed.get(), m.shape.d_model, a.codes);
    m.unembedding.apply(a.normed.get(), a.codes, a.ahead, a.logits.get());
}

// Scores [slot][lane] become weights e^(score - largest); returns their sums' inverses in `inverse`.
inline void softmax(float* scores, int slots, Vec* inverse) {
    Vec largest[kVectors], sum[kVectors];
    for (int v = 0; v < kVectors; ++v) largest[v] = splat(-INFINITY), sum[v] = Vec{};
    for (int t = 0; t < slots; ++t)
        for (int v = 0; v < kVectors; ++v) {
            const Vec here = row(scores, t)[v];
            largest[v] = here > largest[v] ? here : largest[v];
        }
    for (int t = 0; t < slots; ++t)
        for (int v = 0; v < kVectors; ++v) {
            const Vec weight = exponential(row(scores, t)[v] - largest[v]);
            row(scores, t)[v] = weight;
            sum[v] += weight;
        }
    for (int v = 0; v < kVectors; ++v) inverse[v] = 1.0f / sum[v];
}

}  // namespace tinyalign
