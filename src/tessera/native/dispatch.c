/* Which instruction sets this build has and this machine runs. The build says -DTESSERA_HAS_... for each it made. */
#include "convolution.h"
#include "processor.h"

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
#ifdef TESSERA_HAS_NEON
        case TK_NEON: return &tk_neon;
#endif
#ifdef TESSERA_HAS_NEON_BF16
        case TK_NEON_BF16: return &tk_neon_bf16;
#endif
        default: return 0;
    }
}

int32_t tk_offers_set(int32_t set) { return set >= 0 && set < TK_SETS && (tk_sets_offered() >> set & 1); }

int32_t tk_has_set(int32_t set) { return tk_operations_of(set) != 0 && tk_offers_set(set); }

int32_t tk_best_set(void) {
    int32_t best = TK_PORTABLE;
    for (int32_t set = TK_PORTABLE; set < TK_SETS; set++)
        if (tk_has_set(set)) best = set;
    return best;
}

int32_t tk_has_bf16(int32_t set) {
    return tk_has_set(set) && set != TK_PORTABLE && tk_operations_of(set)->group[TK_F2_BF16] != 0;
}
