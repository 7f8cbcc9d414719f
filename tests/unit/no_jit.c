/*
 * Linked with --wrap=pcre2_jit_compile_8: as on a machine that forbids memory that is
 * both written and run.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

int __wrap_pcre2_jit_compile_8(pcre2_code *code, uint32_t options);

int __wrap_pcre2_jit_compile_8(pcre2_code *code, uint32_t options)
{
    return PCRE2_ERROR_NOMEMORY;
}
