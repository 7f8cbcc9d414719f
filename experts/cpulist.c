/* A list is items between commas, an item a number, a range, or a range with a step. */
#include "experts/cpulist.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 160 /* of a list in a message */

struct item {
    uint32_t first, last, step;
};

static bool read_number(const char **at, uint32_t *ret_number)
{
    uint32_t number = 0;
    const char *start = *at;

    for (; **at >= '0' && **at <= '9'; ++*at)
        if (number < SL_CPULIST_CPUS) /* more digits cannot make it smaller */
            number = number * 10 + (uint32_t)(**at - '0');
    *ret_number = number;
    return *at > start;
}

/* False if no item stands at *at. */
static bool read_item(const char **at, struct item *item)
{
    item->step = 1;
    if (!read_number(at, &item->first))
        return false;
    item->last = item->first;
    if (**at != '-')
        return true;
    ++*at;
    if (!read_number(at, &item->last) || item->last < item->first)
        return false;
    if (**at != ':')
        return true;
    ++*at;
    return read_number(at, &item->step) && item->step > 0;
}

static bool has(const int32_t *cpus, uint32_t n, uint32_t cpu)
{
    for (uint32_t i = 0; i < n; i++)
        if (cpus[i] == (int32_t)cpu)
            return true;
    return false;
}

int sl_cpulist_parse(const char *text, int32_t *cpus, uint32_t cap, struct sl_diag *diag)
{
    const char *at = text;
    uint32_t n = 0;

    for (;;) {
        struct item item;

        if (!read_item(&at, &item) || (*at && *at != ','))
            return sl_diag_set(diag, -EINVAL, "a list of CPUs as 0-3,8 expected, found \"%.*s\"",
                               TEXT_MAX, text);
        if (item.last >= SL_CPULIST_CPUS)
            return sl_diag_set(diag, -ERANGE, "numbers of CPUs below %d expected, found \"%.*s\"",
                               SL_CPULIST_CPUS, TEXT_MAX, text);
        for (uint32_t cpu = item.first; cpu <= item.last; cpu += item.step) {
            if (has(cpus, n, cpu))
                return sl_diag_set(diag, -EINVAL, "CPU %u is in the list twice: \"%.*s\"", cpu,
                                   TEXT_MAX, text);
            if (n == cap)
                return sl_diag_set(diag, -E2BIG, "at most %u CPUs expected, found \"%.*s\"", cap,
                                   TEXT_MAX, text);
            cpus[n++] = (int32_t)cpu;
        }
        if (!*at++)
            return (int)n;
    }
}

/* How many from the first on are one item, and its step. */
static uint32_t count_item(const int32_t *cpus, uint32_t n, int32_t *ret_step)
{
    uint32_t len = 1;

    *ret_step = 0;
    if (n < 2)
        return 1;
    *ret_step = cpus[0] < 0 ? 0 : cpus[1] - cpus[0];
    if (cpus[0] >= 0 && *ret_step < 1)
        return 1;
    while (len < n && (cpus[0] < 0 ? cpus[len] < 0 : cpus[len] - cpus[len - 1] == *ret_step))
        len++;
    return *ret_step > 1 && len < 3 ? 1 : len; /* "0,8" rather than "0-8:8" */
}

const char *sl_cpulist_print(char *buf, size_t bytes, const int32_t *cpus, uint32_t n)
{
    size_t used = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < n;) {
        char item[48];
        int32_t step;
        uint32_t len = count_item(cpus + i, n - i, &step);
        const char *comma = i ? "," : "";

        if (cpus[i] < 0)
            (void)snprintf(item, sizeof(item), "%sany", comma);
        else if (len == 1)
            (void)snprintf(item, sizeof(item), "%s%d", comma, cpus[i]);
        else if (step == 1)
            (void)snprintf(item, sizeof(item), "%s%d-%d", comma, cpus[i], cpus[i + len - 1]);
        else
            (void)snprintf(item, sizeof(item), "%s%d-%d:%d", comma, cpus[i], cpus[i + len - 1],
                           step);
        if (used + strlen(item) + 4 > bytes) { /* leaves room for the dots */
            (void)strcpy(buf + used, "...");
            break;
        }
        (void)strcpy(buf + used, item);
        used += strlen(item);
        i += len;
    }
    return buf;
}
