// Sampling, as tinyalign/engine/cpu/native.py calls it: keys and values as floats, or as int8 where the library is
// compiled with TINYALIGN_BYTES.
#include "interface.h"
#include "session.h"
#if defined(TINYALIGN_BYTES)
#include "byte_cache.h"
#else
#include "attention.h"
#endif

namespace {
#if defined(TINYALIGN_BYTES)
using Kept = Session<ByteCache>;
#else
using Kept = Session<FloatCache>;
#endif
}  // namespace

extern "C" {

Kept* ta_session(const Model* model, const Job* job, int threads) {
    try {
        return new Kept(*model, *job, threads);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void ta_session_free(Kept* session) { delete session; }

int ta_run(Kept* session, int steps) {
    return guarded([&] { return session->run(steps); });
}

void ta_stop(Kept* session, int64_t story) { session->stop(story); }

}  // extern "C"
