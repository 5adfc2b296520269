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

// As floats, [layer][kv head][vector of lanes][slot][d_head][lane of the vector].
class FloatCache : public LaneCache {
public:
    FloatCache(const Model& m, int capacity) : LaneCache(m, capacity), keys_(total()), values_(total()) {}

    static double speed() { return 1.0; }

    void put(int layer, int head, int slot, int lane, const float* k, const float* v) {
        const size_t at = place(layer, head, lane / kWidth, slot) + lane % kWidth;
        for (int d = 0; d < model_.shape.d_head; ++d) keys_[at + size_t(d) * kWidth] = k[d];
        for (int d = 0; d < model_.shape.d_head; ++d) values_[at + size_t(d) * kWidth] = v[d];
    }

    void attend(int layer, int slot, const int32_t* lengths, Activations& a) {
        const Shape& s = model_.shape;
        const Sight sight = look(layer, lengths);
        const int group = s.heads / s.kv_heads;
        for (int g = 0; g < s.kv_heads; ++g)
            for (int v = 0; v < kVectors; ++v) {
                Vec* key = reinterpret_cast<Vec*>(keys_.get() + place(layer, g, v, slot));
                Vec* value = reinterpret_cast<Vec*>(values_.get() + place(layer, g, v, slot));
                for (int d = 0; d < s.d_head; ++d) {
                    key[d] = row(a.k.get(), size_t(g) * s.d_head + d)[v];
                    value[d] = row(a.v.get(), size_t(g) * s.d_head + d)[v];
                }
                // Heads that share keys read them together, four, two or one at a time.
                Window window{place(layer, g, v, 0), v, g * group, oldest(slot, sight.longest), sight.longest,
                              sight.shortest, reinterpret_cast<const IVec*>(sight.length)[v]};
                for (const int last = window.head + group; window.head < last;) {
                    if (last - window.head >= 4)
                        mix<4>(window, a), window.head += 4;
                    else if (last - window.head >= 2)
                        mix<2>(window, a), window.head += 2;
                    else
                        mix<1>(window, a), window.head += 1;
                }
            }
        announce(layer, slot, lengths, a.ahead);
    }

private:
    // What heads from `head` on look at: `longest` slots from `oldest` on, round and round.
    struct Window {
        size_t base;  // of slot 0
        int vector, head, oldest, longest, shortest;
        IVec length;
    };

    size_t total() const {
        const Shape& s = model_.shape;
        return size_t(s.layers) * s.kv_heads * capacity_ * s.d_head * kLanes;
    }
    size_t place(int layer, int head, int v, int slot) const {
        const Shape& s = model_.shape;
        return (((size_t(layer) * s.kv_heads + head) * kVectors + v) * capacity_ + slot) * s.d_head * kWidth;
    }
    int oldest(int slot, int longest) const {
        const int first = slot - (longest - 1);
        return first < 0 ? first + capacity_ : first;
    }

    // Calls each(t, numbers from `first` on of the slot's key or value) for the slots in sight, the oldest first.
    template <class Each>
    void each_slot(const Window& w, const Array<float>& kept, int first, Each&& each) const {
        const int d_head = model_.shape.d_head, slots = w.longest;
        const int before = capacity_ - w.oldest < slots ? capacity_ - w.oldest : slots;
        const Vec* base = reinterpret_cast<const Vec*>(kept.get() + w.base) + first;
        const Vec* at = base + size_t(w.oldest) * d_head;
        // One loop and not two, as each of them would be compiled.
        for (int t = 0; t < slots; ++t, at += d_head) {
            if (t == before) at = base;
            each(t, at);
        }
    }

    // Puts into `ahead` what is read when the next layer attends, or the first one in the next step.
    void announce(int layer, int slot, const int32_t* lengths, Ahead& ahead) const {
        const Shape& s = model_.shape;
        const bool last = layer + 1 == s.layers;
        const int next = last ? 0 : layer + 1, newest = last ? (slot + 1) % capacity_ : slot;
        const int slots = look(next, lengths).longest, first = oldest(newest, slots);
        const int before = capacity_ - first < slots ? capacity_ - first : slots;
        const size_t bytes = size_t(s.d_head) * kVectorBytes;
        ahead.clear();
        for (int g = 0; g < s.kv_heads; ++g)
            for (int v = 0; v < kVectors; ++v)
                for (const Array<float>* kept : {&keys_, &values_}) {
                    ahead.add(kept->get() + place(next, g, v, first), before * bytes);
                    ahead.add(kept->get() + place(next, g, v, 0), (slots - before) * bytes);
                }
    }

    // Numbers of a head that are multiplied together: what registers hold of two heads or four, and four of one.
    template <int kHeads>
    static constexpr int fit() {
        return kHeads == 1 ? 4 : kRegisters / 2 / kHeads;
    }

    template <int kHeads>
    void mix(const Window& w, Activations& a) {
        constexpr int kStep = fit<kHeads>();
        const int d_head = model_.shape.d_head;
        Vec largest[kHeads], inverse[kHeads];
        int d = 0;
        for (; d + kStep <= d_head; d += kStep) score<kHeads, kStep>(w, d, a, largest);
        for (; d < d_head; ++d) score<kHeads, 1>(w, d, a, largest);
        for (int h = 0; h < kHeads; ++h) inverse[h] = weigh(w, scores(w, a, h), largest[h]);
        for (d = 0; d + kStep <= d_head; d += kStep) sum_values<kHeads, kStep>(w, d, inverse, a);
        for (; d < d_head; ++d) sum_values<kHeads, 1>(w, d, inverse, a);
    }

    // [slot][lane of the vector]
    static Vec* scores(const Window& w, Activations& a, int h) {
        return reinterpret_cast<Vec*>(a.scores.get()) + size_t(h) * w.longest;
    }

    // Adds what numbers `first` to first + kStep of keys and queries give to the scores of all slots in sight.
    template <int kHeads, int kStep>
    void score(const Window& w, int first, Activations& a, Vec* largest) const {
        Vec q[kHeads][kStep];
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
            largest[h] = splat(-INFINITY);
#pragma GCC unroll 8
            for (int d = 0; d < kStep; ++d)
                q[h][d] = row(a.q.get(), size_t(w.head + h) * model_.shape.d_head + first + d)[w.vector];
        }
        Vec* out = scores(w, a, 0);
        const bool begun = first > 0;
        const int slots = w.longest, shortest = w.shortest;
        const IVec length = w.length;
        each_slot(w, keys_, first, [&](int t, const Vec* k) {
            const int age = slots - 1 - t;
#pragma GCC unroll 4
            for (int h = 0; h < kHeads; ++h) {
                Vec& score = out[size_t(h) * slots + t];
                Vec sum = begun ? score : Vec{};
#pragma GCC unroll 8
                for (int d = 0; d < kStep; ++d) sum += k[d] * q[h][d];
                // A slot older than a lane's story holds another story's key.
                if (age >= shortest) sum = length > age ? sum : splat(-INFINITY);
                largest[h] = sum > largest[h] ? sum : largest[h];
                score = sum;
            }
        });
    }

    // Scores become weights e^(score - largest); returns the inverse of their sum.
    static Vec weigh(const Window& w, Vec* scores, Vec largest) {
        Vec sum{};
        for (int t = 0; t < w.longest; ++t) {
            scores[t] = exponential(scores[t] - largest);
            sum += scores[t];
        }
        return 1.0f / sum;
    }

    // Numbers `first` to first + kStep of a.mixed.
    template <int kHeads, int kStep>
    void sum_values(const Window& w, int first, const Vec* inverse, Activations& a) {
        const Vec* weights = scores(w, a, 0);
        const int slots = w.longest;
        Vec sum[kHeads][kStep] = {};
        each_slot(w, values_, first, [&](int t, const Vec* values) {
#pragma GCC unroll 4
            for (int h = 0; h < kHeads; ++h) {
                const Vec weight = weights[size_t(h) * slots + t];
#pragma GCC unroll 8
                for (int d = 0; d < kStep; ++d) sum[h][d] += weight * values[d];
            }
        });
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h)
#pragma GCC unroll 8
            for (int d = 0; d < kStep; ++d)
                row(a.mixed.get(), size_t(w.head + h) * model_.shape.d_head + first + d)[w.vector] =
                    sum[h][d] * inverse[h];
    }

    Array<float> keys_, values_;
};

}  // namespace tinyalign
