// The model and the job, as tinyalign/engine/cuda/layout.py lays them out. The sizes are compiled in:
// TA_LAYERS, TA_D_MODEL, TA_HEADS, TA_KV_HEADS, TA_D_HEAD, TA_D_MLP, TA_VOCAB, TA_CONTEXT; TA_STORIES stories a
// block, each with a warp of its own; TA_BYTES 1 for keys and values as int8.
#pragma once
#include "machine.cuh"

constexpr int kStories = TA_STORIES, kThreads = 32 * TA_STORIES;
constexpr int kQ = TA_HEADS * TA_D_HEAD, kKv = TA_KV_HEADS * TA_D_HEAD;

__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }
__host__ __device__ constexpr int padded(int size, int to) { return (size + to - 1) / to * to; }

// The widest input of a matrix, and the numbers that matrices leave behind at once.
constexpr int kIn = larger(TA_D_MODEL, larger(kQ, TA_D_MLP));
constexpr int kOut = larger(kQ + 2 * kKv, larger(2 * TA_D_MLP, TA_D_MODEL));
// Rows of one story; the last words keep eight stories that are read at once in different banks.
constexpr int kXRow = padded(TA_D_MODEL, 4) + 4, kInRow = padded(kIn, 8) + 4, kOutRow = padded(kOut, 4) + 4;
constexpr int kCodeRow = padded(kIn, 64) + 16;

enum Kind { kFloat = 0, kOneBit = 1, kTernary = 2 };

// `offset` counts bytes into `Model::packed`, or floats into `Model::floats`.
struct Matrix {
    uint64 offset;
    const float* bias;  // or null
    float scale;
    int kind, outputs, inputs;
};

struct Layer {
    Matrix q, k, v, o, gate, up, down;
    const float *attention_gain, *mlp_gain;
};

struct Model {
    const float *embedding, *cosines, *sines, *last_gain, *floats;
    const uint8* packed;
    uint64 resident;  // bytes of `packed` that stay in shared memory
    Matrix unembedding;
    Layer layers[TA_LAYERS];
    float epsilon;
};

enum Status { kWaiting = 0, kRunning = 1, kEnd = 2, kLength = 3, kInContext = 4, kStopped = 5 };

// A place for one story: kept between launches. `story` is -1 where nobody is.
struct Slot {
    int story, token, position, prefix, prompt;
};

// Stories `first` + 0 to `count` - 1. With `reading` a story is a prompt, whose keys and values go where
// the stories that continue it find them.
struct Job {
    const int* prompts;       // all prompts' tokens
    const int64* offsets;     // [prompts + 1]
    const int* prompt_of;     // [count]
    int* tokens;              // [count][limit]
    int* lengths;             // [count]
    int* status;              // [count]
    int *next, *broken;       // the next story to begin; 1 where logits were not finite
    Slot* slots;              // [blocks][kStories]
    uint32 *own, *shared;     // keys and values by slot, and by prompt
    float* logits;            // [blocks][kStories][TA_VOCAB]
    double temperature, top_p;  // top_p 0 and top_k 0: not asked for; temperature 0: greedy
    uint64 seed;
    int64 first;
    int top_k, count, limit, end, capacity, shared_capacity, lanes, reading, steps;
};

// The dynamic shared memory of a block, before the resident weights.
struct Scratch {
    float x[kStories * kXRow];
    float in[kStories * kInRow];
    float out[kStories * kOutRow];
    int8 codes[kStories * kCodeRow];
    float scale[kStories];
    int sum[kStories];
    Slot slot[kStories];
    int active;
};
constexpr int kScratch = padded(sizeof(Scratch), 16);
