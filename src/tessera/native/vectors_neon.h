/* Vectors of Neon, for the two sets that have them. */
#include <arm_neon.h>
#include <string.h>

#include "convolution.h"

#define LANES 4
#define BLOCK_TILES 6
#define BLOCK_VECTORS 4
#define PRODUCTS "products_neon.inc"
typedef float32x4_t vf;
typedef float vfu __attribute__((vector_size(16), aligned(4), may_alias));

static inline vf all(float x) { return vdupq_n_f32(x); }
static inline vf bent(vf y, vf slope) {
    const vf zero = vdupq_n_f32(0);
    return vfmaq_f32(vmaxq_f32(y, zero), slope, vminq_f32(y, zero));
}
