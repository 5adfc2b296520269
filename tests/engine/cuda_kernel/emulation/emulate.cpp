// Runs a kernel of the CUDA backend on a CPU: `ta_emulate` launches it block by block.
#include <algorithm>
#include <csetjmp>
#include <iterator>
#include <random>
#include <ucontext.h>
#include <vector>

#include "decode.cu"

namespace emulated {

Index thread_index, block_index;

namespace {

constexpr int kWarps = kThreads / 32;
constexpr size_t kStack = 1 << 17;

enum State { kReady, kAtCollective, kAtBarrier, kDone };

struct Fiber {
    State state = kReady;
    bool begun = false;
    unsigned rounds = 0;  // warp collectives that it took part in
    ucontext_t entry;
    jmp_buf place;
    std::vector<char> stack = std::vector<char>(kStack);
};

struct Warp {
    uint64 left[2][32];
    uint32 words[2][32][6];
    int kind[2];
    unsigned arrived[2] = {0, 0};  // of the collective under way, by its parity
    int order[32], turn = 0;       // the lanes in the order in which they run
};

std::vector<Fiber> fibers(kThreads);
Warp warps[kWarps];
jmp_buf scheduler;
std::vector<uint8> shared;
const Model* model;
const Job* job;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "emulated kernel, block %d, thread %d: %s\n", block_index.x, thread_index.x, what);
    std::abort();
}

void jump_to(int thread) {
    thread_index.x = thread;
    Fiber& fiber = fibers[thread];
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.entry);
}

// To the warp's next lane that can go on, or out of the warp.
void next_lane() {
    Warp& warp = warps[thread_index.x / 32];
    for (int tried = 0; tried < 32; ++tried) {
        warp.turn = (warp.turn + 1) % 32;
        if (fibers[warp.order[warp.turn]].state == kReady) jump_to(warp.order[warp.turn]);
    }
    _longjmp(scheduler, 1);
}

void change_over() {
    if (_setjmp(fibers[thread_index.x].place) == 0) next_lane();
}

void enter() {
    ta_decode(model, job);
    fibers[thread_index.x].state = kDone;
    next_lane();
}

// Runs a warp until all of its lanes are at a block barrier or done.
void run_warp(Warp& warp) {
    warp.turn = 0;
    if (fibers[warp.order[0]].state == kReady && _setjmp(scheduler) == 0) jump_to(warp.order[0]);
}

}  // namespace

uint8* shared_memory() { return shared.data(); }

void block_barrier() {
    fibers[thread_index.x].state = kAtBarrier;
    change_over();
}

namespace {

// Waits until all lanes have left something for the collective that begins, and gives its parity.
template <class Leave>
unsigned meet(int kind, Leave&& leave) {
    Fiber& self = fibers[thread_index.x];
    Warp& warp = warps[thread_index.x / 32];
    const unsigned parity = self.rounds++ % 2;
    if (warp.arrived[parity] == 0) warp.kind[parity] = kind;
    if (warp.kind[parity] != kind) fail("the lanes of a warp are at different collectives");
    leave(warp, parity, thread_index.x % 32);
    if (++warp.arrived[parity] < 32) {
        self.state = kAtCollective;
        change_over();
    } else {
        warp.arrived[parity] = 0;
        for (int thread : warp.order) fibers[thread].state = kReady;
    }
    return parity;
}

}  // namespace

uint64 exchange(uint64 value, int from, int kind) {
    const unsigned parity =
        meet(kind, [&](Warp& warp, unsigned p, int lane) { warp.left[p][lane] = value; });
    return warps[thread_index.x / 32].left[parity][from];
}

const uint32 (*gather(const uint32 (&words)[6]))[6] {
    const unsigned parity = meet(
        4, [&](Warp& warp, unsigned p, int lane) { std::memcpy(warp.words[p][lane], words, sizeof words); });
    return warps[thread_index.x / 32].words[parity];
}

uint32 ballot(bool value) {
    const unsigned parity = meet(5, [&](Warp& warp, unsigned p, int lane) { warp.left[p][lane] = value; });
    uint32 bits = 0;
    for (int lane = 0; lane < 32; ++lane)
        bits |= uint32(warps[thread_index.x / 32].left[parity][lane]) << lane;
    return bits;
}

namespace {

void run_block(std::mt19937& random) {
    for (Warp& warp : warps) warp = Warp();
    int turns[kWarps];
    for (int thread = 0; thread < kThreads; ++thread) {
        turns[thread / 32] = thread / 32;
        warps[thread / 32].order[thread % 32] = thread;
        Fiber& fiber = fibers[thread];
        fiber.state = kReady, fiber.begun = false, fiber.rounds = 0;
        getcontext(&fiber.entry);
        fiber.entry.uc_stack.ss_sp = fiber.stack.data();
        fiber.entry.uc_stack.ss_size = fiber.stack.size();
        fiber.entry.uc_link = nullptr;
        makecontext(&fiber.entry, enter, 0);
    }
    for (;;) {
        std::shuffle(std::begin(turns), std::end(turns), random);
        for (int turn : turns) {
            std::shuffle(std::begin(warps[turn].order), std::end(warps[turn].order), random);
            run_warp(warps[turn]);
        }
        size_t waiting = 0, done = 0;
        for (const Fiber& fiber : fibers) waiting += fiber.state == kAtBarrier, done += fiber.state == kDone;
        if (done == fibers.size()) return;
        if (waiting != fibers.size()) fail("a barrier that not all threads reach");
        for (Fiber& fiber : fibers) fiber.state = kReady;
    }
}

}  // namespace
}  // namespace emulated

extern "C" void ta_emulate(const Model* model, const Job* job, int blocks, uint32 order) {
    std::mt19937 random(order);
    emulated::model = model, emulated::job = job;
    for (int block = 0; block < blocks; ++block) {
        emulated::block_index.x = block;
        // Nothing may be counted on in shared memory: as floats these bytes are NaN.
        emulated::shared.assign(kScratch + size_t(model->resident), 0xFF);
        emulated::run_block(random);
    }
}
