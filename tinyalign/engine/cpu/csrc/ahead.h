// Asking for memory while the processor multiplies.
#pragma once
#include "lanes.h"

namespace tinyalign {

// The keys and values that attention reads next. Those of 32 stories outgrow the processor's own caches, and what
// lies beyond gives a line in the time of many multiply-adds: so products of floats ask for some as they go.
class Ahead {
public:
    // Lines of memory one after the other, or without a step one line again and again.
    struct Lines {
        const char* line;
        size_t step;
        void ask() {
            __builtin_prefetch(line, 0, 2);
            line += step;
        }
    };

    void clear() { runs_ = run_ = 0, left_ = kMost; }

    void add(const void* begin, size_t bytes) {
        const size_t lines = bytes / kLine < left_ ? bytes / kLine : left_;
        if (runs_ == kRuns || lines == 0) return;
        run_of_[runs_++] = {static_cast<const char*>(begin), lines};
        left_ -= lines;
    }

    // The next `count` lines; where fewer are left in a row, what lies behind them, which does no harm; where none
    // are left, one that is near anyway.
    Lines next(size_t count) {
        while (run_ < runs_ && run_of_[run_].lines == 0) ++run_;
        if (run_ == runs_) return {reinterpret_cast<const char*>(this), 0};
        Run& run = run_of_[run_];
        const Lines lines{run.line, kLine};
        const size_t used = count < run.lines ? count : run.lines;
        run.line += used * kLine, run.lines -= used;
        return lines;
    }

private:
    struct Run {
        const char* line;
        size_t lines;
    };
    // At most 512 KiB, which leaves room in the caches for weights.
    static constexpr size_t kLine = 64, kMost = 8192;
    static constexpr int kRuns = 64;
    Run run_of_[kRuns];
    int runs_ = 0, run_ = 0;
    size_t left_ = kMost;
};

}  // namespace tinyalign
