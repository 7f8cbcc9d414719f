#include "cli/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

const char *sl_units_size(char *buf, uint64_t bytes)
{
    const char *unit = bytes >= GIB ? "GiB" : bytes >= MIB ? "MiB" : "KiB";
    double value = (double)bytes / (double)(bytes >= GIB ? GIB : bytes >= MIB ? MIB : KIB);

    if (bytes == 0)
        (void)snprintf(buf, SL_UNITS_BYTES, "0");
    else
        (void)snprintf(buf, SL_UNITS_BYTES, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0,
                       value, unit);
    return buf;
}

const char *sl_units_ram(char *buf, uint64_t bytes)
{
    if (bytes % GIB == 0)
        (void)snprintf(buf, SL_UNITS_BYTES, "%" PRIu64 "G", bytes / GIB);
    else if (bytes % (GIB / 2) == 0)
        (void)snprintf(buf, SL_UNITS_BYTES, "%" PRIu64 ".5G", bytes / GIB);
    else
        (void)snprintf(buf, SL_UNITS_BYTES, "%" PRIu64 "M", (bytes + MIB - 1) / MIB);
    return buf;
}

void sl_units_now(char *buf)
{
    time_t now = time(NULL);
    struct tm tm;

    buf[0] = '\0';
    if (gmtime_r(&now, &tm))
        (void)strftime(buf, SL_UNITS_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm); /* it fits */
}
