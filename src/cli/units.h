/* Sizes for people, to a buffer of SL_UNITS_BYTES; both return buf. */
#pragma once

#include <stdint.h>

#define SL_UNITS_BYTES 24

/* "7.05 GiB", "542 MiB": memory, three digits or more, in powers of 1024. */
const char *sl_units_size(char *buf, uint64_t bytes);

/* "8G", "7.5G", "833M": as --ram takes it; no less than bytes. */
const char *sl_units_ram(char *buf, uint64_t bytes);
