#include "processor.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t tk_sets_offered(void) {
    tk_x86_report report = {0};
    uint32_t eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) report.leaf1_ecx = ecx;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        report.leaf7_ebx = ebx;
        if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) report.leaf7_1_eax = eax;
    }
    if (report.leaf1_ecx >> 27 & 1) report.xcr0 = read_xcr0();
#ifdef __APPLE__
    /* macOS saves the wide registers from their first use in a thread, and shows them in XCR0 only then. */
    if (report.leaf7_ebx >> 16 & 1) report.xcr0 |= 1u << 5 | 1u << 6 | 1u << 7;
#endif
    return tk_sets_of_x86(&report);
}

#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>

/* HWCAP2_BF16 of the kernel's asm/hwcap.h, which older headers do not have. */
static int has_bf16(void) { return getauxval(AT_HWCAP2) >> 14 & 1; }
#elif defined(__APPLE__)
#include <sys/sysctl.h>

static int has_bf16(void) {
    int found = 0;
    size_t size = sizeof found;
    return sysctlbyname("hw.optional.arm.FEAT_BF16", &found, &size, 0, 0) == 0 && found;
}
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/* PF_ARM_V86_BF16_INSTRUCTIONS_AVAILABLE of winnt.h, which older headers do not have; older systems answer no. */
static int has_bf16(void) { return IsProcessorFeaturePresent(68) != 0; }
#else
static int has_bf16(void) { return 0; }
#endif

uint32_t tk_sets_offered(void) { return tk_sets_of_arm(has_bf16()); }

#else
uint32_t tk_sets_offered(void) { return 1u << TK_PORTABLE; }
#endif
