/* AVX2 with FMA: fp32 only. */
#include <immintrin.h>
#include <string.h>

#include "convolution.h"

#define LANES 8
#define BLOCK_TILES 6
#define BLOCK_VECTORS 2
typedef __m256 vf;
typedef float vfu __attribute__((vector_size(32), aligned(4), may_alias));

static inline vf all(float x) { return _mm256_set1_ps(x); }
static inline vf bent(vf y, vf slope) {
    const vf zero = _mm256_setzero_ps();
    return _mm256_fmadd_ps(slope, _mm256_min_ps(y, zero), _mm256_max_ps(y, zero));
}

#define NAME(x) x##_f4_fp32
#define OUTER 4
#define HALF 0
#include "winograd.inc"

const tk_operations tk_avx2 = {{group_f4_fp32, NULL, NULL}, 2};
