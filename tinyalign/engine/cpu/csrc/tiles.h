// Intel's matrix unit (AMX): 16 outputs x 64 inputs of trits times 64 inputs x 16 lanes of codes at once.
#pragma once
#include "lanes.h"

#if defined(__AMX_INT8__) && defined(__AMX_TILE__) && defined(__AVX512F__) && defined(__linux__)
#define TINYALIGN_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tinyalign {

constexpr int kTileOutputs = 16, kTileInputs = 64;

// Whether the processor has the unit and the system lets this process use it, which has to be asked for.
inline bool tiles_allowed() {
#if defined(TINYALIGN_AMX)
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool allowed = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
    return allowed;
#else
    return false;
#endif
}

#if defined(TINYALIGN_AMX)
// The unit of this thread, eight full tiles, while the object lives.
class Tiles {
public:
    Tiles() {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, unused[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        for (int i = 0; i < 8; ++i) shape.bytes[i] = 64, shape.rows[i] = 16;
        // GCC takes it that of this only the first bytes are read, and may leave out the others.
        asm volatile("" : : "r"(&shape) : "memory");
        _tile_loadconfig(&shape);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;

    // Sums over inputs of w * code for 32 outputs: `w` [2][blocks][16][64] unsigned, `codes`
    // [blocks * 16][lane][4] signed, `acc` [32][lane].
    void multiply(const uint8_t* w, const int8_t* codes, int blocks, int32_t* acc) const {
        constexpr int kRow = kLanes * 4;
        const uint8_t* other = w + size_t(blocks) * kTileOutputs * kTileInputs;
        // GCC does not know that tiles read and write memory.
        asm volatile("" ::: "memory");
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int b = 0; b < blocks; ++b) {
            _tile_loadd(4, w + size_t(b) * kTileOutputs * kTileInputs, kTileInputs);
            _tile_loadd(6, codes + size_t(b) * 16 * kRow, kRow);
            _tile_dpbusd(0, 4, 6);
            _tile_loadd(7, codes + size_t(b) * 16 * kRow + kRow / 2, kRow);
            _tile_dpbusd(1, 4, 7);
            _tile_loadd(5, other + size_t(b) * kTileOutputs * kTileInputs, kTileInputs);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        _tile_stored(0, acc, kRow);
        _tile_stored(1, acc + kLanes / 2, kRow);
        _tile_stored(2, acc + kTileOutputs * kLanes, kRow);
        _tile_stored(3, acc + kTileOutputs * kLanes + kLanes / 2, kRow);
        asm volatile("" ::: "memory");
    }
};
#endif

}  // namespace tinyalign
