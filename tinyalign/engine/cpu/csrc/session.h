// Sampling many stories: blocks of 32 lanes take stories in order, as others end or when all have ended.
#pragma once
// Not <thread>: its headers and <memory> are a tenth of what the compiler works on (callgrind), before a first story.
#include <pthread.h>

#include <atomic>
#include <list>

#include "reading.h"
#include "sampling.h"

namespace tinyalign {

enum Status : int8_t { kWaiting = 0, kRunning = 1, kEnd = 2, kLength = 3, kContext = 4, kStopped = 5 };

// What to sample. Story i of `count` has the number `first + i` and continues prompt number
// `(first + i) / each`, whose tokens lie from offsets[p] to offsets[p + 1].
struct Job {
    const int32_t* prompts;
    const int64_t* offsets;
    int64_t first, count, each;
    int32_t limit;     // most new tokens
    int32_t end;       // the token that ends a story, or -1
    int32_t capacity;  // most tokens that any story here puts into the cache
    int32_t lanes;     // lanes in use of each block, 1 to 32
    Draw draw;
    int32_t* tokens;   // [count][limit], the new tokens
    int32_t* lengths;  // [count]
    int8_t* status;    // [count]
    const int32_t* forced;  // null, or [count][limit]: the tokens to take, whatever would be drawn
    double* log_probs;      // with `forced`: [count][limit], their log-probabilities in nats
};

// 32 lanes whose keys and values are kept by a `Cache`, which has for them
//   static double speed(): numbers that it reads in the time of a float,
//   put(layer, head, slot, lane, k, v): keeps the key and value [d_head] of one lane's token at `slot`,
//   attend(layer, slot, lengths, a): adds this step's keys and values at `slot` and mixes the values of each
//     lane's last `lengths` slots, or of as many of them as the layer's window has.
template <class Cache>
class Block {
public:
    Block(const Model& model, const Job& job, std::atomic<int64_t>& next, std::atomic<bool>& broken)
        : model_(model), job_(job), next_(next), broken_(broken), activations_(model, job.capacity),
          lanes_(model, job.capacity), prompt_(model, job.capacity), sampler_(model.shape.vocab),
          rest_(rest_of(model)) {
        for (int l = 0; l < kLanes; ++l) idle(l);
    }

    // At most `steps` tokens for every lane; false when no story is left to go on with.
    bool run(int steps) {
        for (int step = 0; step < steps && !broken_; ++step) {
            const int slot = int(clock_ % job_.capacity);
            if (!waits())
                for (int l = 0; l < job_.lanes; ++l)
                    if (story_[l] < 0) refill(l, slot);
            const int busy = count_busy();
            if (busy == 0) return false;
            busy_ += busy, ++steps_;
            advance(slot);
            ++clock_;
        }
        return true;
    }

    void stop(int64_t story) {
        for (int l = 0; l < kLanes; ++l)
            if (story_[l] == story) finish(l, kStopped);
    }

private:
    void idle(int lane) {
        story_[lane] = -1;
        token_[lane] = position_[lane] = 0;
        length_[lane] = 1;
    }

    void finish(int lane, Status status) {
        job_.status[story_[lane]] = status;
        idle(lane);
    }

    int count_busy() const {
        int busy = 0;
        for (int l = 0; l < kLanes; ++l) busy += story_[l] >= 0;
        return busy;
    }

    // Whether idle lanes had better wait until all are idle. Every lane reads as many keys as the longest story
    // has, so stories that begin together read half as many as stories of all ages; idle lanes are the price.
    // Once that price was higher, lanes are filled as soon as they are idle.
    bool waits() {
        if (count_busy() == 0) {
            busy_ = steps_ = 0;
            return false;
        }
        int longest = 0;
        for (int l = 0; l < kLanes; ++l)
            if (story_[l] >= 0 && length_[l] > longest) longest = length_[l];
        const double together = rest_ + longest / 2.0, apart = rest_ + longest;
        together_ = together_ && double(busy_) * apart >= double(steps_) * job_.lanes * together;
        return together_;
    }

    // What a step costs beside attention, in slots of keys and values: a number of the cache takes as long as
    // about 10 multiply-adds of floats, or 30 of trits.
    static double rest_of(const Model& m) {
        const auto adds = [](const Linear& w) { return double(w.inputs) * w.outputs / (w.ternary ? 30 : 10); };
        double rest = adds(m.unembedding);
        for (const Layer& l : m.layers)
            for (const Linear* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) rest += adds(*w);
        return rest / (2.0 * m.shape.layers * m.kv_size()) * Cache::speed();
    }

    // Gives the lane the next story, its prompt but the last token being in the cache before `slot`.
    void refill(int lane, int slot) {
        const int64_t story = next_.fetch_add(1);
        if (story >= job_.count) return;
        const int64_t prompt = (job_.first + story) / job_.each;
        const int32_t* ids = job_.prompts + job_.offsets[prompt];
        const int size = int(job_.offsets[prompt + 1] - job_.offsets[prompt]);
        read(ids, size - 1);
        const Shape& s = model_.shape;
        for (int layer = 0; layer < s.layers; ++layer)
            for (int h = 0; h < s.kv_heads; ++h)
                for (int p = 0; p < size - 1; ++p) {
                    int to = slot - (size - 1) + p;
                    if (to < 0) to += job_.capacity;
                    lanes_.put(layer, h, to, lane, prompt_.key(layer, h, p), prompt_.value(layer, h, p));
                }
        story_[lane] = story;
        token_[lane] = ids[size - 1];
        position_[lane] = size - 1;
        length_[lane] = size;
        job_.status[story] = kRunning;
    }

    // Puts the keys and values of a prompt into prompt_, but for what it shares with the prompt before it.
    void read(const int32_t* ids, int size) {
        size_t same = 0;
        while (same < read_.size() && int(same) < size && read_[same] == ids[same]) ++same;
        std::vector<Node> nodes;
        for (int p = int(same); p < size; ++p) nodes.push_back({ids[p], p});
        prompt_.read(nodes.data(), int64_t(nodes.size()), activations_, [](int64_t, int) {});
        // The keys of a longer prompt before it still stand behind; they are not counted on.
        read_.assign(ids, ids + size);
    }

    // One step of all lanes, then a token for each that has a story.
    void advance(int slot) {
        const auto look_back = [&](int layer) { lanes_.attend(layer, slot, length_, activations_); };
        forward(model_, activations_, token_, position_, Attend(look_back));
        unembed(model_, activations_.x.get(), activations_);
        const float* logits = activations_.logits.get();
        find_largest(logits, model_.shape.vocab, largest_);
        double u[kLanes] = {};
        bool draws[kLanes];
        int32_t drawn[kLanes];
        for (int l = 0; l < kLanes; ++l) {
            draws[l] = story_[l] >= 0;
            if (!draws[l]) continue;
            if (!largest_.usable[l]) {
                broken_ = true;
                return;
            }
            u[l] = uniform(job_.draw.seed, uint64_t(job_.first + story_[l]), uint32_t(position_[l] + 1));
        }
        if (job_.forced)
            force(logits, drawn);
        else
            sampler_.choose(logits, largest_, job_.draw, draws, u, drawn);
        for (int l = 0; l < kLanes; ++l)
            if (draws[l]) take(l, drawn[l]);
    }

    void force(const float* logits, int32_t* drawn) {
        double all[kLanes];
        log_sums(logits, model_.shape.vocab, largest_, all);
        for (int l = 0; l < kLanes; ++l) {
            if (story_[l] < 0) continue;
            const int64_t at = story_[l] * job_.limit + job_.lengths[story_[l]];
            drawn[l] = job_.forced[at];
            job_.log_probs[at] = double(logits[size_t(drawn[l]) * kLanes + l]) - all[l];
        }
    }

    void take(int lane, int32_t token) {
        const int64_t story = story_[lane];
        if (token == job_.end) return finish(lane, kEnd);
        job_.tokens[story * job_.limit + job_.lengths[story]++] = token;
        token_[lane] = token;
        ++position_[lane];
        ++length_[lane];
        if (job_.lengths[story] >= job_.limit) return finish(lane, kLength);
        if (position_[lane] + 1 >= model_.shape.context) return finish(lane, kContext);
    }

    const Model& model_;
    const Job& job_;
    std::atomic<int64_t>& next_;
    std::atomic<bool>& broken_;
    Activations activations_;
    Cache lanes_;
    PathCache prompt_;
    Sampler sampler_;
    Largest largest_;
    std::vector<int32_t> read_;  // the tokens in prompt_
    const double rest_;
    bool together_ = true;
    int64_t busy_ = 0, steps_ = 0;  // since all lanes began together: lanes in use, summed over the steps
    int64_t clock_ = 0;
    int64_t story_[kLanes];
    alignas(64) int32_t token_[kLanes];
    alignas(64) int32_t position_[kLanes];
    alignas(64) int32_t length_[kLanes];
};

template <class Cache>
class Session {
public:
    Session(const Model& model, const Job& job, int threads) : job_(job) {
        for (int t = 0; t < threads; ++t) blocks_.emplace_back(model, job_, next_, broken_);
    }

    // 1: more to do, 0: all stories ended, -1: logits that are not finite. A thread for each block but the first.
    int run(int steps) {
        std::atomic<bool> more{false};
        std::list<Turn> turns;
        for (Block<Cache>& block : blocks_) turns.push_back({block, steps, more});
        // Once a thread runs, nothing here asks for memory: a failure would leave the thread its dead turn.
        for (Turn& turn : turns)
            turn.apart = &turn != &turns.front() && pthread_create(&turn.thread, nullptr, Turn::run, &turn) == 0;
        // This thread runs the first block, and those for which the system gave no thread.
        for (Turn& turn : turns)
            if (!turn.apart) Turn::run(&turn);
        for (Turn& turn : turns)
            if (turn.apart) pthread_join(turn.thread, nullptr);
        return broken_ ? -1 : more ? 1 : 0;
    }

    void stop(int64_t story) {
        for (Block<Cache>& block : blocks_) block.stop(story);
    }

private:
    struct Turn {
        Block<Cache>& block;
        int steps;
        std::atomic<bool>& more;
        pthread_t thread = {};
        bool apart = false;

        static void* run(void* at) {
            Turn& turn = *static_cast<Turn*>(at);
            if (turn.block.run(turn.steps)) turn.more = true;
            return nullptr;
        }
    };

    Job job_;
    std::atomic<int64_t> next_{0};
    std::atomic<bool> broken_{false};
    std::list<Block<Cache>> blocks_;
};

}  // namespace tinyalign
