/* Vectors as the compiler makes them for any processor; bf16 in software. The reference for the other sets. */
#include <string.h>

#include "convolution.h"

#define LANES 4
#define BLOCK_TILES 4
#define BLOCK_VECTORS 2
typedef float vf __attribute__((vector_size(16)));
typedef float vfu __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(16)));
typedef struct {
    vf even, odd;
} vh;

static inline vf all(float x) { return (vf){x, x, x, x}; }
static inline vf bent(vf y, vf slope) {
    const vi over = y > all(0.0f);
    return (vf)(((vi)y & over) | ((vi)(y * slope) & ~over));
}
static inline void store_half(uint16_t *place, vf v) {
    for (int i = 0; i < LANES; i++) place[i] = tk_bf16(v[i]);
}
static inline vh pairs(const uint16_t *place) {
    vh found;
    for (int i = 0; i < LANES; i++) {
        found.even[i] = tk_float(place[2 * i]);
        found.odd[i] = tk_float(place[2 * i + 1]);
    }
    return found;
}
static inline vh one_pair(const uint16_t *place) { return (vh){all(tk_float(place[0])), all(tk_float(place[1]))}; }
static inline vf dot(vf sum, vh x, vh y) { return sum + x.odd * y.odd + x.even * y.even; }

#define NAME(x) x##_f4_fp32
#define OUTER 4
#define HALF 0
#include "winograd.inc"

#define NAME(x) x##_f2_bf16
#define OUTER 2
#define HALF 1
#include "winograd.inc"

#define NAME(x) x##_f4_bf16
#define OUTER 4
#define HALF 1
#include "winograd.inc"

const tk_operations tk_portable = {{group_f4_fp32, group_f2_bf16, group_f4_bf16}, 2};
