/* Which instruction sets this build has and this processor runs. The build says -DTESSERA_HAS_... for each it made. */
#include "convolution.h"

const tk_operations *tk_operations_of(int32_t set);

const tk_operations *tk_operations_of(int32_t set) {
    switch (set) {
        case TK_PORTABLE: return &tk_portable;
#ifdef TESSERA_HAS_AVX2
        case TK_AVX2: return &tk_avx2;
#endif
#ifdef TESSERA_HAS_AVX512
        case TK_AVX512: return &tk_avx512;
#endif
#ifdef TESSERA_HAS_AVX512_BF16
        case TK_AVX512_BF16: return &tk_avx512_bf16;
#endif
        default: return 0;
    }
}

/* Whether processor and system run it: the compiler's support asks both. */
static int32_t runs(int32_t set) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (set == TK_AVX2) return avx2;
    if (set == TK_AVX512) return avx512;
#ifdef TESSERA_HAS_AVX512_BF16
    if (set == TK_AVX512_BF16) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
#endif
    return set == TK_PORTABLE;
}

int32_t tk_has_set(int32_t set) { return tk_operations_of(set) != 0 && runs(set); }

int32_t tk_best_set(void) {
    int32_t best = TK_PORTABLE;
    for (int32_t set = TK_PORTABLE; set < TK_SETS; set++)
        if (tk_has_set(set)) best = set;
    return best;
}

int32_t tk_has_bf16(int32_t set) { return tk_has_set(set) && set != TK_PORTABLE && tk_operations_of(set)->group[TK_F2_BF16] != 0; }
