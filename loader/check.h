/*
 * Checksums of what lies on disk: XXH3, 64 bits, seed 0; the only file that knows xxhash.
 * Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t sl_check_hash(const void *data, size_t bytes);
