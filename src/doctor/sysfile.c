/* Lines are read into buffers of fixed size; what is longer is cut there, or skipped. */
#include "doctor/sysfile.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"

#define LINE_BYTES 4096

static void copy(char *to, size_t cap, const char *from)
{
    size_t len;

    from += strspn(from, " \t");
    (void)snprintf(to, cap, "%s", from); /* cut: it is for people */
    sl_text_clean(to);
    len = strlen(to);
    while (len && to[len - 1] == ' ')
        to[--len] = '\0';
}

FILE *sl_sysfile_open(const char *root, const char *path)
{
    char full[PATH_MAX];

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return NULL;
    return fopen(full, "re");
}

bool sl_sysfile_line(const char *root, const char *path, char *ret_text, size_t cap)
{
    FILE *f = sl_sysfile_open(root, path);
    char line[LINE_BYTES] = "";
    bool is_there = f && fgets(line, sizeof(line), f);

    line[strcspn(line, "\n")] = '\0';
    copy(ret_text, cap, line);
    if (f)
        (void)fclose(f); /* read only */
    return is_there;
}

static bool parse(const char *text, uint64_t *ret_value)
{
    char more;

    return text[0] >= '0' && text[0] <= '9' && strlen(text) < 20 &&
           sscanf(text, "%" SCNu64 "%c", ret_value, &more) == 1;
}

bool sl_sysfile_number(const char *root, const char *path, uint64_t *ret_value)
{
    char text[64];
    uint64_t value;

    if (!sl_sysfile_line(root, path, text, sizeof(text)) || !parse(text, &value))
        return false;
    *ret_value = value;
    return true;
}

bool sl_sysfile_key(const char *root, const char *path, const char *key, char *ret_text,
                    size_t cap)
{
    FILE *f = sl_sysfile_open(root, path);
    char line[LINE_BYTES];
    size_t len = strlen(key);
    bool is_found = false;

    ret_text[0] = '\0';
    if (!f)
        return false;
    while (!is_found && fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, len) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        copy(ret_text, cap, line + len);
        is_found = true;
    }
    (void)fclose(f); /* read only */
    return is_found;
}

uint64_t sl_sysfile_kib(const char *root, const char *path, const char *key)
{
    char text[64];
    uint64_t value;

    if (!sl_sysfile_key(root, path, key, text, sizeof(text)))
        return 0;
    text[strcspn(text, " ")] = '\0';
    return parse(text, &value) && value < UINT64_MAX / 1024 ? value * 1024 : 0;
}
