// Attention of 32 stories that go on side by side, each over its own past.
#pragma once
#include "transformer.h"

namespace tinyalign {

// Keys and values of 32 stories (see `Block` in session.h). All lanes write one slot a step, round and round; a
// lane's story fills the last `length` slots, so lanes of different ages need no padding.
class LaneCache {
protected:
    LaneCache(const Model& m, int capacity) : model_(m), capacity_(capacity) {}

    // What every lane sees in a layer: its last `length` slots, at most `longest` and at least `shortest`.
    struct Sight {
        alignas(64) int32_t length[kLanes];
        int longest = 0, shortest = 0;
    };
    Sight look(int layer, const int32_t* lengths) const {
        const int window = model_.layers[layer].window > 0 ? model_.layers[layer].window : capacity_;
        Sight sight;
        sight.shortest = capacity_;
        for (int l = 0; l < kLanes; ++l) {
            const int length = lengths[l] < window ? lengths[l] : window;
            sight.length[l] = length;
            sight.longest = length > sight.longest ? length : sight.longest;
            sight.shortest = length < sight.shortest ? length : sight.shortest;
        }
        return sight;
    }

    const Model& model_;
    const int capacity_;
};

// As floats, [layer][kv head][slot][d_head][lane].
class FloatCache : public LaneCache {
public:
    FloatCache(const Model& m, int capacity) : LaneCache(m, capacity), keys_(total()), values_(total()) {}

    static double speed() { return 1.0; }

    void put(int layer, int head, int slot, int lane, const float* k, const float* v) {
        float *keys = key(layer, head, slot) + lane, *values = value(layer, head, slot) + lane;
        for (int d = 0; d < model_.shape.d_head; ++d) keys[size_t(d) * kLanes] = k[d];
        for (int d = 0; d < model_.shape.d_head; ++d) values[size_t(d) * kLanes] = v[d];
    }

    void attend(int layer, int slot, const int32_t* lengths, Activations& a) {
        const Shape& s = model_.shape;
        const size_t head_bytes = size_t(s.d_head) * kLanes * sizeof(float);
        const Sight sight = look(layer, lengths);
        const int group = s.heads / s.kv_heads;
        for (int g = 0; g < s.kv_heads; ++g) {
            std::memcpy(key(layer, g, slot), a.k.get() + size_t(g) * s.d_head * kLanes, head_bytes);
            std::memcpy(value(layer, g, slot), a.v.get() + size_t(g) * s.d_head * kLanes, head_bytes);
            // Heads that share keys read them together, four, two or one at a time.
            for (int h = 0; h < group;) {
                const Window window{layer, g, g * group + h, slot, sight.longest, sight.shortest, sight.length};
                if (group - h >= 4)
                    mix<4>(window, a), h += 4;
                else if (group - h >= 2)
                    mix<2>(window, a), h += 2;
                else
                    mix<1>(window, a), h += 1;
            }
        }
    }

private:
    struct Window {
        int layer, kv_head, head, slot, longest, shortest;
        const int32_t* length;
    };

    float* key(int layer, int head, int slot) { return keys_.get() + place(layer, head, slot); }
    float* value(int layer, int head, int slot) { return values_.get() + place(layer, head, slot); }

    size_t total() const {
        const Shape& s = model_.shape;
        return size_t(s.layers) * s.kv_heads * capacity_ * s.d_head * kLanes;
    }
    size_t place(int layer, int head, int slot) const {
        const Shape& s = model_.shape;
        return ((size_t(layer) * s.kv_heads + head) * capacity_ + slot) * s.d_head * kLanes;
    }
    int oldest(const Window& w) const {
        const int slot = w.slot - (w.longest - 1);
        return slot < 0 ? slot + capacity_ : slot;
    }

    template <int kHeads>
    void mix(const Window& w, Activations& a) {
        const int d_head = model_.shape.d_head, slots = w.longest;
        const float* q = a.q.get() + size_t(w.head) * d_head * kLanes;
        IVec length[kVectors];
        for (int v = 0; v < kVectors; ++v) length[v] = reinterpret_cast<const IVec*>(w.length)[v];
        float* scores = a.scores.get();  // [head][slot][lane]
        for (int t = 0, slot = oldest(w); t < slots; ++t, slot = slot + 1 == capacity_ ? 0 : slot + 1) {
            const float* k = key(w.layer, w.kv_head, slot);
            Vec sum[kHeads][kVectors] = {};
            for (int d = 0; d < d_head; ++d)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v) {
                    const Vec in = row(k, d)[v];
#pragma GCC unroll 4
                    for (int h = 0; h < kHeads; ++h) sum[h][v] += in * row(q, h * d_head + d)[v];
                }
            const int age = slots - 1 - t;
#pragma GCC unroll 4
            for (int h = 0; h < kHeads; ++h)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v) {
                    // A slot older than a lane's story holds another story's key.
                    const Vec seen = age < w.shortest ? sum[h][v]
                                                      : (length[v] > age ? sum[h][v] : splat(-INFINITY));
                    row(scores, size_t(h) * slots + t)[v] = seen;
                }
        }
        Vec inverse[kHeads][kVectors];
        for (int h = 0; h < kHeads; ++h) softmax(scores + size_t(h) * slots * kLanes, slots, inverse[h]);
        constexpr int fit = kRegisters / 2 / kVectors / kHeads;
        constexpr int step = fit > 0 ? fit : 1;
        int d = 0;
        for (; d + step <= d_head; d += step) sum_values<kHeads, step>(w, d, inverse, a);
        for (; d < d_head; ++d) sum_values<kHeads, 1>(w, d, inverse, a);
    }

    template <int kHeads, int kStep>
    void sum_values(const Window& w, int first, const Vec (*inverse)[kVectors], Activations& a) {
        const int d_head = model_.shape.d_head, slots = w.longest;
        const float* scores = a.scores.get();
        Vec sum[kHeads][kStep][kVectors] = {};
        for (int t = 0, slot = oldest(w); t < slots; ++t, slot = slot + 1 == capacity_ ? 0 : slot + 1) {
            const float* values = value(w.layer, w.kv_head, slot);
#pragma GCC unroll 8
            for (int h = 0; h < kHeads; ++h)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v) {
                    const Vec weight = row(scores, size_t(h) * slots + t)[v];
#pragma GCC unroll 16
                    for (int d = 0; d < kStep; ++d) sum[h][d][v] += weight * row(values, first + d)[v];
                }
        }
#pragma GCC unroll 8
        for (int h = 0; h < kHeads; ++h)
#pragma GCC unroll 16
            for (int d = 0; d < kStep; ++d)
#pragma GCC unroll 16
                for (int v = 0; v < kVectors; ++v)
                    row(a.mixed.get(), size_t(w.head + h) * d_head + first + d)[v] =
                        sum[h][d][v] * inverse[h][v];
    }

    Array<float> keys_, values_;
};

}  // namespace tinyalign
