/*
 * Which kernels this machine can run. Asked of cpuid directly, because compilers
 * differ in the names that __builtin_cpu_supports knows. A level needs all of its
 * instruction sets, and an operating system that saves its registers (XCR0).
 */
#include <cpuid.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

/* Register state that the operating system saves: SSE and AVX; AVX-512 adds mask
 * registers and both parts of zmm. */
#define XCR0_AVX 0x06u
#define XCR0_AVX512 0xe6u

/* The F16C and FMA bits have names in cpuid.h in all supported compilers. */
#define LEAF1_ECX_AVX2 (bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE)
#define LEAF7_EBX_AVX2 (bit_AVX2 | bit_BMI2)
#define LEAF7_EBX_AVX512 (bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL)
#define LEAF7_ECX_AVX512 bit_AVX512VNNI

static const char *const level_names[] = {
    [SL_CPU_C] = "c",
    [SL_CPU_AVX2] = "avx2",
    [SL_CPU_AVX512] = "avx512",
};

/* The low half of XCR0; only where cpuid says OSXSAVE. As assembler, because the
 * intrinsic wants an instruction set flag that this file must not have. */
static unsigned read_xcr0(void)
{
    unsigned low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_all(unsigned reg, unsigned bits)
{
    return (reg & bits) == bits;
}

enum sl_cpu_level sl_cpu_best(void)
{
    unsigned eax, ebx, ecx, edx, xcr0;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_all(ecx, LEAF1_ECX_AVX2))
        return SL_CPU_C;
    xcr0 = read_xcr0();
    if (!has_all(xcr0, XCR0_AVX))
        return SL_CPU_C;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has_all(ebx, LEAF7_EBX_AVX2))
        return SL_CPU_C;
    if (!has_all(xcr0, XCR0_AVX512) || !has_all(ebx, LEAF7_EBX_AVX512) ||
        !has_all(ecx, LEAF7_ECX_AVX512))
        return SL_CPU_AVX2;
    return SL_CPU_AVX512;
}

const char *sl_cpu_level_name(enum sl_cpu_level level)
{
    return level_names[level];
}

int sl_cpu_level_from_name(const char *name)
{
    for (int i = SL_CPU_C; i <= SL_CPU_AVX512; i++)
        if (strcmp(level_names[i], name) == 0)
            return i;
    return -1;
}
