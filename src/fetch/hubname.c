#include "fetch/hubname.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PART_BYTES_MAX 255 /* of a file's name */
#define PATH_BYTES_MAX 1024
#define COMMIT_DIGITS 40

static const char *skip(const char *text, const char *start)
{
    size_t len = strlen(start);

    return strncasecmp(text, start, len) == 0 ? text + len : text;
}

/* One of the two names of a repo, as the hub allows them. */
static bool is_name(const char *text, size_t len)
{
    if (len == 0 || len > 96 || text[0] == '.' || text[0] == '-' || text[len - 1] == '.' ||
        text[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
        if (i && (text[i] == '.' || text[i] == '-') && text[i] == text[i - 1])
            return false; /* ".." leads up, "--" is a slash in the cache */
    }
    return true;
}

static bool is_repo(const char *text)
{
    const char *slash = strchr(text, '/');

    return slash && is_name(text, (size_t)(slash - text)) && is_name(slash + 1, strlen(slash + 1));
}

static bool copy(char *to, size_t cap, const char *from, size_t len)
{
    if (len >= cap)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

int sl_hubname_parse(struct sl_hubname *ret, const char *text, struct sl_diag *diag)
{
    const char *at = skip(skip(text, "https://"), "http://"), *end, *mark;
    bool fits;

    at = skip(skip(at, "hf.co/"), "huggingface.co/");
    end = at + strcspn(at, ":");
    *ret = (struct sl_hubname){.revision = "main"};
    mark = memchr(at, '@', (size_t)(end - at));
    fits = copy(ret->repo, sizeof(ret->repo), at, (size_t)((mark ? mark : end) - at));
    if (mark)
        fits &= copy(ret->revision, sizeof(ret->revision), mark + 1, (size_t)(end - mark - 1));
    if (*end)
        fits &= copy(ret->tag, sizeof(ret->tag), end + 1, strlen(end + 1));
    if (!fits || !is_repo(ret->repo))
        return sl_diag_set(diag, -EBADMSG, "user/repo, user/repo:TYPE or user/repo:FILE of a hub "
                                           "expected, found \"%.200s\"", text);
    if (!sl_hubname_is_path(ret->revision))
        return sl_diag_set(diag, -EBADMSG, "a branch, a tag or a commit expected after @, found "
                                           "\"%.200s\"", ret->revision);
    if (*end && !ret->tag[0])
        return sl_diag_set(diag, -EBADMSG, "a type of weights or a file expected after : in "
                                           "\"%.200s\"", text);
    return 0;
}

bool sl_hubname_is_path(const char *path)
{
    size_t total = strlen(path);

    if (total == 0 || total > PATH_BYTES_MAX)
        return false;
    for (const char *part = path;;) {
        size_t len = strcspn(part, "/");

        if (len == 0 || len > PART_BYTES_MAX || (len == 1 && part[0] == '.') ||
            (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)part[i] < 0x20 || part[i] == 0x7F || part[i] == '\\')
                return false;
        if (!part[len])
            return true;
        part += len + 1;
    }
}

bool sl_hubname_is_commit(const char *text)
{
    return strspn(text, "0123456789abcdef") == COMMIT_DIGITS && !text[COMMIT_DIGITS];
}

bool sl_hubname_add_url(char *url, size_t cap, const char *text, bool with_slashes)
{
    size_t len = strlen(url);

    for (; *text; text++) {
        bool is_plain = isalnum((unsigned char)*text) || strchr("-._~", *text) ||
                        (with_slashes && *text == '/');

        if (len + 4 > cap)
            return false;
        len += (size_t)snprintf(url + len, cap - len, is_plain ? "%c" : "%%%02X",
                                (unsigned char)*text);
    }
    return true;
}
