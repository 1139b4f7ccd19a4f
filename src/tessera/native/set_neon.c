/* Neon of 64-bit Arm: fp32 only. */
#include "vectors_neon.h"

#define NAME(x) x##_f4_fp32
#define OUTER 4
#define HALF 0
#include "winograd.inc"

const tk_operations tk_neon = {{group_f4_fp32, NULL, NULL}, 2};
