/* Reading whole inputs. Sizes are not believed: a pipe has none, a file may grow. */
#include "cli/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/command.h"
#include "cli/report.h"

static int read_all(int fd, struct sl_strbuf *buf)
{
    char piece[65536];
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        sl_strbuf_add(buf, piece, (size_t)n);
        if (buf->error)
            return buf->error;
        if (buf->len > SL_INFILE_BYTES_MAX)
            return -E2BIG;
    }
    return n < 0 ? -errno : 0;
}

const char *sl_infile_name(const char *path)
{
    return strcmp(path, "-") != 0 ? path : "standard input";
}

int sl_infile_read(const char *path, char **ret_text, size_t *ret_len, struct sl_diag *diag)
{
    struct sl_strbuf buf = {0};
    int is_stdin = !strcmp(path, "-");
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int r;

    r = fd < 0 ? -errno : read_all(fd, &buf);
    if (fd >= 0 && !is_stdin)
        close(fd);
    if (r == 0)
        r = sl_strbuf_take(&buf, ret_text, ret_len);
    if (r < 0) {
        sl_strbuf_done(&buf);
        return sl_diag_set(diag, r, "%s: %s", sl_infile_name(path),
                           r == -E2BIG ? "more than 256 MiB" : sl_err_text(r));
    }
    return 0;
}

int sl_infile_load(const char *path, char **ret_text, size_t *ret_len)
{
    struct sl_diag diag;
    int r = sl_infile_read(path, ret_text, ret_len, &diag);

    if (r == -EINTR)
        return SL_EXIT_INTERRUPTED;
    return r < 0 ? sl_report_error("%s", diag.text) : SL_EXIT_OK;
}

static size_t skip_separators(const char *text, size_t len, size_t i)
{
    while (i < len && strchr(", \t\r\n\v\f", text[i]) && text[i])
        i++;
    return i;
}

/* An id at text[i ..), or -1. */
static int64_t parse_id(const char *text, size_t len, size_t i, size_t *ret_end)
{
    int64_t id = 0;
    size_t start = i;

    for (; i < len && text[i] >= '0' && text[i] <= '9' && i - start < 10; i++)
        id = id * 10 + (text[i] - '0');
    *ret_end = i;
    return i > start && (i == len || skip_separators(text, len, i) > i) ? id : -1;
}

/* Bytes of the word at text, for a message. */
static int word_len(const char *text)
{
    size_t len = strcspn(text, ", \t\r\n\v\f");

    return len < 40 ? (int)len : 40;
}

size_t sl_infile_count_ids(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = skip_separators(text, len, 0); i < len; n++) {
        while (i < len && skip_separators(text, len, i) == i)
            i++;
        i = skip_separators(text, len, i);
    }
    return n;
}

int sl_infile_parse_ids(const char *name, const char *text, size_t len, uint32_t n_vocab,
                        int32_t **ret_ids, size_t *ret_n, struct sl_diag *diag)
{
    int32_t *ids;
    size_t n = 0;

    ids = malloc((len / 2 + 1) * sizeof(*ids)); /* an id and a separator: 2 bytes */
    if (!ids)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory", name);
    for (size_t i = skip_separators(text, len, 0); i < len; i = skip_separators(text, len, i)) {
        size_t start = i;
        int64_t id = parse_id(text, len, i, &i);

        if (id < 0) {
            free(ids);
            return sl_diag_set(diag, -EBADMSG, "%s: \"%.*s\" at byte %zu is not a token id", name,
                               word_len(text + start), text + start, start);
        }
        if (id >= n_vocab) {
            free(ids);
            return sl_diag_set(diag, -EBADMSG, "%s: token id %lld at byte %zu: this model has %u",
                               name, (long long)id, start, n_vocab);
        }
        ids[n++] = (int32_t)id;
    }
    if (n == 0) {
        free(ids);
        return sl_diag_set(diag, -EBADMSG, "%s: no token ids", name);
    }
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}
