/* The decoding of what a processor reports, for tests. */
#include "processor.h"

TK_PUBLIC uint32_t sets_of_x86(uint32_t leaf1_ecx, uint32_t leaf7_ebx, uint32_t leaf7_1_eax, uint64_t xcr0) {
    const tk_x86_report report = {leaf1_ecx, leaf7_ebx, leaf7_1_eax, xcr0};
    return tk_sets_of_x86(&report);
}

TK_PUBLIC uint32_t sets_of_arm(int32_t has_bf16) { return tk_sets_of_arm(has_bf16); }
