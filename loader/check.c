/*
 * XXH3 from the header, so that it is compiled into this file and into nothing else: the
 * shared library's calls would leave the choice of instructions to how it was built.
 */
#include "loader/check.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t sl_check_hash(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}
