/* Optimal string alignment, three rows of it. */
#include "store/nearname.h"

#include <ctype.h>
#include <string.h>

#define LEN_MAX 128

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static size_t lower(char *out, const char *text)
{
    size_t len = 0;

    for (; text[len] && len < LEN_MAX; len++)
        out[len] = (char)tolower((unsigned char)text[len]);
    out[len] = '\0';
    return text[len] ? 0 : len;
}

static uint32_t align(const char *a, size_t a_len, const char *b, size_t b_len)
{
    uint32_t rows[3][LEN_MAX + 1];
    uint32_t *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t k = 0; k <= b_len; k++)
        above[k] = (uint32_t)k;
    for (size_t i = 1; i <= a_len; i++) {
        uint32_t *spare = before;

        row[0] = (uint32_t)i;
        for (size_t k = 1; k <= b_len; k++) {
            row[k] = least(above[k - 1] + (a[i - 1] != b[k - 1]),
                           least(above[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], before[k - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[b_len];
}

uint32_t sl_nearname_distance(const char *typed, const char *name)
{
    char a[LEN_MAX + 1], b[LEN_MAX + 1];
    size_t a_len = lower(a, typed), b_len = lower(b, name);
    uint32_t distance;

    if (a_len == 0 || b_len == 0)
        return UINT32_MAX;
    if (!strcmp(a, b))
        return 0;
    if ((a_len >= 3 && strstr(b, a)) || (b_len >= 3 && strstr(a, b)))
        return 1;
    distance = align(a, a_len, b, b_len);
    return distance <= 2 || distance <= a_len / 4 ? distance : UINT32_MAX;
}
