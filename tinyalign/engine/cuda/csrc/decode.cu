// Sampling many stories: each block has a few, from prompt to end, and takes the next ones as they end. A launch
// goes `steps` tokens on; what lives longer lies in global memory.
#include "attention.cuh"
#include "linear.cuh"
#include "sampling.cuh"

__device__ void rms_norm(Scratch& s, int story, const float* gain, float epsilon) {
    const float* x = s.x + story * kXRow;
    float sum = 0.0f;
    for (int d = lane_id(); d < TA_D_MODEL; d += 32) sum += x[d] * x[d];
    const float inverse = 1.0f / sqrtf(warp_sum(sum) / float(TA_D_MODEL) + epsilon);
    float* out = s.in + story * kInRow;
    for (int d = lane_id(); d < TA_D_MODEL; d += 32) out[d] = gain[d] * (x[d] * inverse);
    __syncwarp();
}

__device__ void add_out(Scratch& s, int story) {
    for (int d = lane_id(); d < TA_D_MODEL; d += 32) s.x[story * kXRow + d] += s.out[story * kOutRow + d];
    __syncwarp();
}

__device__ void embed(Scratch& s, int story, const Model& m) {
    const float* from = m.embedding + (int64)s.slot[story].token * TA_D_MODEL;
    for (int d = lane_id(); d < TA_D_MODEL; d += 32) s.x[story * kXRow + d] = from[d];
    __syncwarp();
}

// Attention of a warp's own story; leaves the heads' outputs in `in`.
__device__ void look_back(Scratch& s, int story, const Model& m, const Job& job, int layer) {
    const Slot& slot = s.slot[story];
    float* row = s.out + story * kOutRow;
    rotate(row, TA_HEADS, m, slot.position, 1.0f / sqrtf(float(TA_D_HEAD)));
    rotate(row + kQ, TA_KV_HEADS, m, slot.position, 1.0f);
    __syncwarp();
    const int place = job.reading ? (slot.story < 0 ? job.count : slot.story)
                                  : blockIdx.x * kStories + story;
    for (int g = 0; g < TA_KV_HEADS; ++g) {
        const Past own = job.reading ? past_of(job.shared, place, layer, g, job.shared_capacity)
                                     : past_of(job.own, place, layer, g, job.capacity);
        const Past prefix = past_of(job.shared, slot.prompt, layer, g, job.shared_capacity);
        const int p = slot.position;
        keep(row + kQ + g * TA_D_HEAD, own.key(p), own.key_scale(p));
        keep(row + kQ + kKv + g * TA_D_HEAD, own.value(p), own.value_scale(p));
        __syncwarp();
        constexpr int group = TA_HEADS / TA_KV_HEADS;
        for (int h = g * group; h < (g + 1) * group; ++h)
            attend(row + h * TA_D_HEAD, prefix, own, slot.prefix, p + 1, s.in + story * kInRow + h * TA_D_HEAD);
    }
    __syncwarp();
}

__device__ void gated(Scratch& s, int story) {
    const float *gate = s.out + story * kOutRow, *up = gate + TA_D_MLP;
    float* in = s.in + story * kInRow;
    for (int d = lane_id(); d < TA_D_MLP; d += 32) in[d] = gate[d] / (expf(-gate[d]) + 1.0f) * up[d];
    __syncwarp();
}

// The first of matrices of one input that is packed, or the last.
__device__ __forceinline__ const Matrix& packed_of(const Matrix& a, const Matrix& b, const Matrix& c) {
    return a.kind != kFloat ? a : b.kind != kFloat ? b : c;
}

// The residual stream of every story after all layers, normed, in `in`.
__device__ void forward(Scratch& s, const Model& m, const Job& job, const uint8* resident) {
    const int story = warp_id();
    embed(s, story, m);
    for (int number = 0; number < TA_LAYERS; ++number) {
        const Layer& layer = m.layers[number];
        rms_norm(s, story, layer.attention_gain, m.epsilon);
        quantise(s, story, packed_of(layer.q, layer.k, layer.v));
        __syncthreads();
        apply(s, m, resident, layer.q, s.out, kOutRow);
        apply(s, m, resident, layer.k, s.out + kQ, kOutRow);
        apply(s, m, resident, layer.v, s.out + kQ + kKv, kOutRow);
        __syncthreads();
        look_back(s, story, m, job, number);
        quantise(s, story, layer.o);
        __syncthreads();
        apply(s, m, resident, layer.o, s.out, kOutRow);
        __syncthreads();
        add_out(s, story);
        rms_norm(s, story, layer.mlp_gain, m.epsilon);
        quantise(s, story, packed_of(layer.gate, layer.up, layer.up));
        __syncthreads();
        apply(s, m, resident, layer.gate, s.out, kOutRow);
        apply(s, m, resident, layer.up, s.out + TA_D_MLP, kOutRow);
        __syncthreads();
        gated(s, story);
        quantise(s, story, layer.down);
        __syncthreads();
        apply(s, m, resident, layer.down, s.out, kOutRow);
        __syncthreads();
        add_out(s, story);
    }
    rms_norm(s, story, m.last_gain, m.epsilon);
    quantise(s, story, m.unembedding);
}

// Gives an empty place the next story; one lane of its warp works.
__device__ void refill(Slot& slot, const Job& job) {
    const int story = atomicAdd(job.next, 1);
    if (story >= job.count) return;
    const int prompt = job.prompt_of[story];
    const int size = int(job.offsets[prompt + 1] - job.offsets[prompt]);
    // A prompt's last token belongs to the stories that continue it; a prompt of one token has nothing to read.
    if (job.reading && size < 2) {
        job.status[story] = kLength;
        return;
    }
    const int position = job.reading ? 0 : size - 1;
    slot = {story, job.prompts[job.offsets[prompt] + position], position, job.reading ? 0 : position, prompt};
    job.status[story] = kRunning;
}

__device__ void leave(Slot& slot, const Job& job, int status) {
    if (status != kStopped) job.status[slot.story] = status;
    slot = {-1, 0, 0, 0, 0};
}

// A prompt goes on with its own next token.
__device__ void read_on(Slot& slot, const Job& job) {
    const int64 begin = job.offsets[slot.prompt];
    if (begin + ++slot.position + 1 >= job.offsets[slot.prompt + 1]) return leave(slot, job, kLength);
    slot.token = job.prompts[begin + slot.position];
}

__device__ void take(Slot& slot, const Job& job, int token) {
    if (token == job.end) return leave(slot, job, kEnd);
    const int length = ++job.lengths[slot.story];
    job.tokens[(int64)slot.story * job.limit + length - 1] = token;
    slot.token = token;
    ++slot.position;
    if (length >= job.limit) return leave(slot, job, kLength);
    if (slot.position + 1 >= TA_CONTEXT) return leave(slot, job, kInContext);
}

// False when no story is left to go on with. Every warp looks after its own place.
__device__ bool ready(Scratch& s, const Job& job) {
    if (threadIdx.x == 0) s.active = 0;
    __syncthreads();
    Slot& slot = s.slot[warp_id()];
    if (lane_id() == 0) {
        if (slot.story >= 0 && job.status[slot.story] == kStopped) leave(slot, job, kStopped);
        if (slot.story < 0 && warp_id() < job.lanes) refill(slot, job);
        if (slot.story >= 0) atomicAdd(&s.active, 1);
    }
    __syncthreads();
    return s.active > 0;
}

extern "C" __global__ void __launch_bounds__(kThreads) ta_decode(const Model* model, const Job* given) {
    TA_SHARED(memory);
    Scratch& s = *reinterpret_cast<Scratch*>(memory);
    uint8* resident = memory + kScratch;
    const Model& m = *model;
    const Job& job = *given;
    for (int i = threadIdx.x; i < kScratch / 4; i += kThreads) reinterpret_cast<uint32*>(memory)[i] = 0;
    for (uint64 i = threadIdx.x; i < m.resident / 4; i += kThreads)
        reinterpret_cast<uint32*>(resident)[i] = reinterpret_cast<const uint32*>(m.packed)[i];
    __syncthreads();
    const int story = warp_id();
    if (lane_id() == 0) s.slot[story] = job.slots[blockIdx.x * kStories + story];
    __syncthreads();
    float* logits = job.logits + (int64)blockIdx.x * kStories * TA_VOCAB;
    for (int step = 0; step < job.steps && ready(s, job); ++step) {
        forward(s, m, job, resident);
        Slot& slot = s.slot[story];
        if (job.reading) {
            if (lane_id() == 0 && slot.story >= 0) read_on(slot, job);
            continue;
        }
        __syncthreads();
        apply(s, m, resident, m.unembedding, logits, TA_VOCAB);
        __syncthreads();
        if (slot.story < 0) continue;
        const float* own = logits + story * TA_VOCAB;
        const Best best = find_best(own);
        const double u = uniform(job.seed, uint64(job.first + slot.story), uint32(slot.position + 1));
        const int token = best.usable ? draw(own, best, job, u) : 0;
        __syncwarp();
        if (lane_id() == 0) {
            if (!best.usable) *job.broken = 1, leave(slot, job, kStopped);
            else take(slot, job, token);
        }
    }
    __syncthreads();
    if (lane_id() == 0) job.slots[blockIdx.x * kStories + story] = s.slot[story];
}

// For the caller's check that both sides lay out memory alike.
extern "C" __global__ void ta_sizes(int* out) {
    out[0] = sizeof(Model), out[1] = sizeof(Job), out[2] = sizeof(Slot), out[3] = kScratch;
}
