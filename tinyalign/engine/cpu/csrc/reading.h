// Reading given tokens: 32 of them at a time, of one text or of many that begin alike.
#pragma once
#include "transformer.h"

namespace tinyalign {

// A token to read, and how many stand before it in its text. Nodes in depth-first order make a tree: the one
// before a node in its text is the last node of a smaller depth, so what texts share is read once.
struct Node {
    int32_t token, depth;
};

// Keys and values of the text that ends at the last node read, [layer][kv head][slot][d_head]: slot p holds
// position p, and the slots after them the up to 32 nodes being read. A lane is a node.
class PathCache {
public:
    PathCache(const Model& m, int capacity)
        : model_(m), slots_(capacity + kLanes), keys_(total()), values_(total()), depth_(slots_), begin_(slots_),
          end_(slots_) {}

    float* key(int layer, int head, int slot) { return keys_.get() + place(layer, head, slot); }
    float* value(int layer, int head, int slot) { return values_.get() + place(layer, head, slot); }

    // Reads `nodes`, of which the first goes on from a text read before (depth 0: from none). After up to 32 of
    // them, `each(first, used)` sees their last activations in the first `used` lanes of a.x.
    template <class Each>
    void read(const Node* nodes, int64_t count, Activations& a, Each&& each) {
        for (int64_t first = 0; first < count; first += kLanes) {
            const int used = int(count - first < kLanes ? count - first : kLanes);
            look(nodes + first, used);
            int32_t tokens[kLanes];
            // Lanes beyond the end read the last token again; nobody looks at them.
            for (int l = 0; l < kLanes; ++l) tokens[l] = nodes[first + (l < used ? l : used - 1)].token;
            const auto look_back = [&](int layer) { attend(layer, a); };
            forward(model_, a, tokens, positions_, Attend(look_back));
            keep();
            each(first, used);
        }
    }

private:
    static constexpr int kSlots = 4;  // keys, or numbers of values, that share one load of the lanes

    size_t total() const {
        const Shape& s = model_.shape;
        return size_t(s.layers) * s.kv_heads * slots_ * s.d_head;
    }
    size_t place(int layer, int head, int slot) const {
        const Shape& s = model_.shape;
        return ((size_t(layer) * s.kv_heads + head) * slots_ + slot) * s.d_head;
    }

    // Which lanes see which slot: those of the slot's own branch, which stand side by side.
    void look(const Node* nodes, int used) {
        base_ = nodes[0].depth;
        used_ = used;
        shallowest_ = base_;
        for (int s = 0; s < base_; ++s) depth_[s] = s, begin_[s] = 0, end_[s] = kLanes;
        for (int l = 0; l < used; ++l) {
            const int depth = nodes[l].depth;
            positions_[l] = depth;
            for (int s = depth; s < shallowest_; ++s) end_[s] = l;
            shallowest_ = depth < shallowest_ ? depth : shallowest_;
            for (int before = 0; before < l; ++before)
                if (end_[base_ + before] == kLanes && depth <= nodes[before].depth) end_[base_ + before] = l;
            depth_[base_ + l] = depth, begin_[base_ + l] = l, end_[base_ + l] = kLanes;
        }
        for (int l = used; l < kLanes; ++l) positions_[l] = positions_[used - 1];
    }

    // The last lane's text moves to the slots of its positions; its slots only ever move down.
    void keep() {
        const Shape& s = model_.shape;
        const size_t bytes = size_t(s.d_head) * sizeof(float);
        for (int l = 0; l < used_; ++l) {
            const int from = base_ + l, to = depth_[from];
            if (end_[from] != kLanes || from == to) continue;
            for (int layer = 0; layer < s.layers; ++layer)
                for (int g = 0; g < s.kv_heads; ++g) {
                    std::memcpy(key(layer, g, to), key(layer, g, from), bytes);
                    std::memcpy(value(layer, g, to), value(layer, g, from), bytes);
                }
        }
    }

    void attend(int layer, Activations& a) {
        const Shape& s = model_.shape;
        for (int g = 0; g < s.kv_heads; ++g)
            for (int d = 0; d < s.d_head; ++d)
                for (int l = 0; l < used_; ++l) {
                    key(layer, g, base_ + l)[d] = a.k[(size_t(g) * s.d_head + d) * kLanes + l];
                    value(layer, g, base_ + l)[d] = a.v[(size_t(g) * s.d_head + d) * kLanes + l];
                }
        const int window = model_.layers[layer].window > 0 ? model_.layers[layer].window : slots_;
        const int before = shallowest_ - window + 1, from = before > 0 ? before : 0, to = base_ + used_;
        for (int h = 0; h < s.heads; ++h) {
            const int g = h / (s.heads / s.kv_heads);
            score(key(layer, g, 0), from, to, window, a.q.get() + size_t(h) * s.d_head * kLanes, a.scores.get());
            Vec inverse[kVectors];
            softmax(a.scores.get(), to - from, inverse);
            mix(value(layer, g, from), to - from, a.scores.get(), inverse,
                a.mixed.get() + size_t(h) * s.d_head * kLanes);
        }
    }

    // Scores [slot - from][lane]; -infinity where a lane doesn't see the slot, which adds an exact 0.
    void score(const float* keys, int from, int to, int window, const float* q, float* scores) const {
        const int d_head = model_.shape.d_head;
        IVec lane[kVectors];
        for (int v = 0; v < kVectors; ++v)
            for (int w = 0; w < kWidth; ++w) lane[v][w] = v * kWidth + w;
        for (int first = from; first < to; first += kSlots) {
            const float* k[kSlots];
            for (int i = 0; i < kSlots; ++i) k[i] = keys + size_t(first + i < to ? first + i : to - 1) * d_head;
            for (int v = 0; v < kVectors; ++v) {
                Vec sum[kSlots] = {};
                for (int d = 0; d < d_head; ++d) {
                    const Vec in = row(q, d)[v];
#pragma GCC unroll 4
                    for (int i = 0; i < kSlots; ++i) sum[i] += in * k[i][d];
                }
                const IVec position = reinterpret_cast<const IVec*>(positions_)[v];
                for (int i = 0; i < kSlots && first + i < to; ++i) {
                    const int slot = first + i;
                    const IVec sees = (lane[v] >= begin_[slot]) & (lane[v] < end_[slot]) &
                                      (position - depth_[slot] < window);
                    row(scores, slot - from)[v] = sees ? sum[i] : splat(-INFINITY);
                }
            }
        }
    }

    void mix(const float* values, int slots, const float* scores, const Vec* inverse, float* mixed) const {
        const int d_head = model_.shape.d_head;
        for (int v = 0; v < kVectors; ++v)
            for (int first = 0; first < d_head; first += kSlots) {
                const int last = d_head - 1 - first;
                Vec sum[kSlots] = {};
                for (int t = 0; t < slots; ++t) {
                    const Vec weight = row(scores, t)[v];
                    const float* in = values + size_t(t) * d_head + first;
#pragma GCC unroll 4
                    for (int i = 0; i < kSlots; ++i) sum[i] += weight * in[i < last ? i : last];
                }
                for (int i = 0; i < kSlots && i <= last; ++i) row(mixed, first + i)[v] = sum[i] * inverse[v];
            }
    }

    const Model& model_;
    int slots_, base_ = 0, used_ = 0, shallowest_ = 0;
    Array<float> keys_, values_;
    alignas(64) int32_t positions_[kLanes];
    std::vector<int32_t> depth_, begin_, end_;  // [slot]
};

}  // namespace tinyalign
