/* Sizes for people, to a buffer of SL_UNITS_BYTES, which both return; and the time. */
#pragma once

#include <stdint.h>

#define SL_UNITS_BYTES 24

/* "7.05 GiB", "542 MiB": memory, three digits or more, in powers of 1024. */
const char *sl_units_size(char *buf, uint64_t bytes);

/* "8G", "7.5G", "833M": as --ram takes it; no less than bytes. */
const char *sl_units_ram(char *buf, uint64_t bytes);

#define SL_UNITS_TIME_BYTES 32

/* The time in UTC, "2026-11-23T07:40:00Z", to a buffer of SL_UNITS_TIME_BYTES. */
void sl_units_now(char *buf);
