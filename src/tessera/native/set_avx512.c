/* AVX-512 F, fp32 only. */
#include "vectors_avx512.h"

#define NAME(x) x##_f4_fp32
#define OUTER 4
#define HALF 0
#include "winograd.inc"

const tk_operations tk_avx512 = {{group_f4_fp32, NULL, NULL}, 2};
