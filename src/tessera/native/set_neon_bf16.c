/* Neon with products of bf16 (FEAT_BF16: BFCVTN, BFMMLA). */
#include "vectors_neon.h"

#define TOGETHER 4

static inline void store_half(uint16_t *place, vf v) {
    const bfloat16x4_t rounded = vcvt_bf16_f32(v);
    memcpy(place, &rounded, sizeof rounded);
}
static inline bfloat16x8_t load_half(const uint16_t *place) { return vreinterpretq_bf16_u16(vld1q_u16(place)); }

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

const tk_operations tk_neon_bf16 = {{group_f4_fp32, group_f2_bf16, group_f4_bf16}, 4};
