// Scoring: the log-probabilities of tokens of many sequences, what sequences share being read once.
#pragma once
#include <algorithm>
#include <cmath>

#include "reading.h"
#include "sampling.h"

namespace tinyalign {

// Sequences in lexicographic order (so that what any of them share stands side by side), flat; of sequence i
// the tokens from `starts[i]` (at least 1) on are scored into `out`, nats, at their own places.
struct Sequences {
    const int32_t* tokens;
    const int64_t* offsets;
    const int32_t* starts;
    double* out;
};

class Scorer {
public:
    Scorer(const Model& model, const Sequences& sequences, int64_t first, int64_t last)
        : model_(model), sequences_(sequences) {
        int longest = 1;
        std::vector<int64_t> path;  // the nodes on the way to the last one
        for (int64_t i = first; i < last; ++i) {
            const int32_t* ids = sequences.tokens + sequences.offsets[i];
            const int size = int(sequences.offsets[i + 1] - sequences.offsets[i]);
            longest = std::max(longest, size);
            size_t same = 0;
            // The last token of a sequence is only predicted, unless another one goes on after it.
            while (same < path.size() && int(same) < size && nodes_[path[same]].token == ids[same]) ++same;
            path.resize(same);
            for (int p = int(same); p < size - 1; ++p) {
                path.push_back(int64_t(nodes_.size()));
                nodes_.push_back({ids[p], p});
                asked_.push_back(-1);
            }
            for (int p = sequences.starts[i]; p < size; ++p) {
                int64_t& head = asked_[path[p - 1]];
                asks_.push_back({sequences.offsets[i] + p, head, ids[p]});
                head = int64_t(asks_.size()) - 1;
            }
        }
        capacity_ = longest;
    }

    // False where logits are not finite.
    bool run() {
        const int d_model = model_.shape.d_model;
        PathCache cache(model_, capacity_);
        Activations activations(model_, capacity_);
        // Only nodes that a score is asked of are unembedded, gathered to 32.
        Array<float> gathered(Activations::rows(d_model));
        bool usable = true;
        cache.read(nodes_.data(), int64_t(nodes_.size()), activations, [&](int64_t first, int used) {
            for (int l = 0; l < used; ++l) {
                if (asked_[first + l] < 0) continue;
                for (int d = 0; d < d_model; ++d)
                    gathered[size_t(d) * kLanes + count_] = activations.x[size_t(d) * kLanes + l];
                node_[count_++] = first + l;
                if (count_ == kLanes) usable = answer(gathered.get(), activations) && usable;
            }
        });
        return answer(gathered.get(), activations) && usable;
    }

private:
    // A score wanted after a node: where it goes, the next one asked of this node or -1, and the token.
    struct Ask {
        int64_t out, next;
        int32_t target;
    };

    bool answer(const float* x, Activations& a) {
        if (count_ == 0) return true;
        const int vocab = model_.shape.vocab;
        unembed(model_, x, a);
        find_largest(a.logits.get(), vocab, largest_);
        double all[kLanes];
        log_sums(a.logits.get(), vocab, largest_, all);
        bool usable = true;
        for (int l = 0; l < count_; ++l) {
            usable = usable && largest_.usable[l];
            for (int64_t ask = asked_[node_[l]]; ask >= 0; ask = asks_[ask].next)
                sequences_.out[asks_[ask].out] = double(a.logits[size_t(asks_[ask].target) * kLanes + l]) - all[l];
        }
        count_ = 0;
        return usable;
    }

    const Model& model_;
    const Sequences sequences_;
    std::vector<Node> nodes_;
    std::vector<int64_t> asked_;  // the first ask of each node, or -1
    std::vector<Ask> asks_;
    int capacity_ = 1, count_ = 0;
    int64_t node_[kLanes];
    Largest largest_;
};

}  // namespace tinyalign
