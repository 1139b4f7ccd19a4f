/* AVX-512 with products of bf16. */
#include "vectors_avx512.h"

typedef __m512bh vh;

static inline void store_half(uint16_t *place, vf v) {
    _mm256_storeu_si256((__m256i *)place, (__m256i)_mm512_cvtneps_pbh(v));
}
static inline vh pairs(const uint16_t *place) { return (__m512bh)_mm512_loadu_si512(place); }
static inline vh one_pair(const uint16_t *place) {
    int32_t pair;
    memcpy(&pair, place, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}
static inline vf dot(vf sum, vh x, vh y) { return _mm512_dpbf16_ps(sum, x, y); }

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

const tk_operations tk_avx512_bf16 = {{group_f4_fp32, group_f2_bf16, group_f4_bf16}, 2};
