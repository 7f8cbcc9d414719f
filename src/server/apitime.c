#include "server/apitime.h"

#include <stdio.h>
#include <time.h>

void sl_apitime_print(char out[SL_APITIME_BYTES], int64_t unix_ns)
{
    int64_t ns = unix_ns % 1000000000;
    time_t seconds = (time_t)(unix_ns / 1000000000);
    char date[24];
    struct tm tm;

    if (ns < 0) {
        ns += 1000000000;
        seconds--;
    }
    (void)gmtime_r(&seconds, &tm); /* 63 bits of nanoseconds are years of four digits */
    (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, SL_APITIME_BYTES, "%s.%09dZ", date, (int)ns);
}
