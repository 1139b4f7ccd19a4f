/* Vectors of AVX-512, for the two sets that have them. */
#include <immintrin.h>
#include <string.h>

#include "convolution.h"

#define LANES 16
#define BLOCK_TILES 12
#define BLOCK_VECTORS 2
typedef __m512 vf;
typedef float vfu __attribute__((vector_size(64), aligned(4), may_alias));

static inline vf all(float x) { return _mm512_set1_ps(x); }
static inline vf bent(vf y, vf slope) {
    const vf zero = _mm512_setzero_ps();
    return _mm512_fmadd_ps(slope, _mm512_min_ps(y, zero), _mm512_max_ps(y, zero));
}
