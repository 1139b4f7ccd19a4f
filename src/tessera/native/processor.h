/* Which instruction sets the processor has and the operating system saves on a switch of threads.
 *
 * Asked directly: `__builtin_cpu_supports` belongs to the compiler's runtime, and one linked with another compiler's
 * runtime finds nothing, which would select the portable set silently.
 */
#ifndef TESSERA_PROCESSOR_H
#define TESSERA_PROCESSOR_H

#include "kernels.h"

/* What an x86 processor reports: registers of CPUID leaves, and XCR0, the states that the system saves. */
typedef struct {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_1_eax;
    uint64_t xcr0;
} tk_x86_report;

/* Bit numbers: Intel's Software Developer's Manual, volume 2A (CPUID) and volume 1, section 13.3 (XCR0). */
static inline uint32_t tk_sets_of_x86(const tk_x86_report *report) {
    const uint32_t fma_osxsave_avx = 1u << 12 | 1u << 27 | 1u << 28;
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const uint64_t ymm = 1u << 1 | 1u << 2, zmm = ymm | 1u << 5 | 1u << 6 | 1u << 7;
    uint32_t sets = 1u << TK_PORTABLE;
    if ((report->leaf1_ecx & fma_osxsave_avx) != fma_osxsave_avx || (report->xcr0 & ymm) != ymm) return sets;
    if (!(report->leaf7_ebx >> 5 & 1)) return sets;
    sets |= 1u << TK_AVX2;
    if ((report->leaf7_ebx & f_dq_bw_vl) != f_dq_bw_vl || (report->xcr0 & zmm) != zmm) return sets;
    sets |= 1u << TK_AVX512;
    if (report->leaf7_1_eax >> 5 & 1) sets |= 1u << TK_AVX512_BF16;
    return sets;
}

/* Every 64-bit Arm processor that runs an operating system has Neon. */
static inline uint32_t tk_sets_of_arm(int has_bf16) {
    return 1u << TK_PORTABLE | 1u << TK_NEON | (has_bf16 ? 1u << TK_NEON_BF16 : 0);
}

/* Bit `1 << tk_set` for each set that this machine runs, whether or not this build has it. */
uint32_t tk_sets_offered(void);

#endif
