/* Points in time as Ollama's API has them. Pure; any thread. */
#pragma once

#include <stdint.h>

#define SL_APITIME_BYTES 40

/* RFC 3339 in UTC, to the nanosecond: "2026-11-23T13:31:05.000000001Z". */
void sl_apitime_print(char out[SL_APITIME_BYTES], int64_t unix_ns);
