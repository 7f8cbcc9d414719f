/*
 * A JSON object. Machine and model are in it in words, so that a file can be read by people
 * and one that was copied from elsewhere is recognised; its name is their hash.
 */
#include "cli/tuned.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "base/outfile.h"
#include "cli/statedir.h"
#include "experts/topology.h"
#include "loader/check.h"

#define FILE_BYTES_MAX 65536 /* ours have 3 KB at most */

static const char *const purposes[SL_TUNE_PURPOSES] = {"decode", "prefill"};
static const char *const rate_keys[SL_TUNE_PURPOSES] = {"decode_tokens_per_s",
                                                        "prefill_tokens_per_s"};

const char *sl_tuned_purpose_name(enum sl_tune_purpose purpose)
{
    return purposes[purpose];
}

char *sl_tuned_path(const struct sl_tuned_key *key)
{
    char name[64], text[2 * SL_TUNED_NAME_BYTES + 2];
    int len = snprintf(text, sizeof(text), "%s\n%s", key->machine, key->model);

    (void)snprintf(name, sizeof(name), "tune-%016" PRIx64 ".json",
                   sl_check_hash(text, (size_t)len));
    return sl_statedir_path(name);
}

int sl_tuned_save(const char *path, const struct sl_tuned_key *key, const struct sl_tuned *tuned,
                  struct sl_diag *diag)
{
    char *folders = strdup(path);
    struct sl_outfile out = {0};
    struct sl_jsonwriter w;
    int r;

    if (!folders)
        return sl_diag_set(diag, -ENOMEM, "cannot write %s: not enough memory", path);
    (void)sl_statedir_make_folders(folders); /* opening tells */
    free(folders);
    r = sl_outfile_open(&out, path, diag);
    if (r < 0)
        return r;
    sl_jsonwriter_init(&w, out.file, SL_JSONWRITER_PRETTY);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_member_u64(&w, "tune", SL_TUNED_VERSION);
    sl_jsonwriter_member_string(&w, "machine", key->machine);
    sl_jsonwriter_member_string(&w, "model", key->model);
    sl_jsonwriter_member_string(&w, "date", tuned->date);
    sl_jsonwriter_member_string(&w, "for", purposes[tuned->purpose]);
    sl_jsonwriter_member_array(&w, "cpus");
    for (uint32_t i = 0; i < tuned->n; i++)
        sl_jsonwriter_i64(&w, tuned->cpus[i]);
    sl_jsonwriter_end_array(&w);
    for (int p = 0; p < SL_TUNE_PURPOSES; p++)
        sl_jsonwriter_member_f64(&w, rate_keys[p], tuned->rates[p]);
    sl_jsonwriter_end_object(&w);
    r = sl_jsonwriter_done(&w);
    if (r == 0 && fputc('\n', out.file) == EOF)
        r = -EIO;
    if (r < 0 && out.error)
        r = out.error;
    if (r < 0)
        (void)sl_diag_set(diag, r, "cannot write %s: %s", path, sl_err_text(r));
    else
        r = sl_outfile_commit(&out, diag);
    sl_outfile_done(&out);
    return r;
}

__attribute__((format(printf, 3, 4)))
static int refuse(struct sl_diag *diag, const char *path, const char *fmt, ...)
{
    char why[128];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, args); /* a cut reason will do */
    va_end(args);
    return sl_diag_set(diag, -EBADMSG, "%.300s is not used: %s; sluice tune makes it anew", path,
                       why);
}

/* The whole of a small regular file, terminated. */
static int read_file(const char *path, char **ret_text, size_t *ret_len, struct sl_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not stop us */
    char *text = NULL;
    struct stat st;
    size_t len = 0;
    ssize_t n = 0;
    int r = 0;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT
                               : sl_diag_set(diag, -EIO, "%.300s is not used: %s", path,
                                             strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        r = refuse(diag, path, "it is no regular file");
    else if (st.st_size > FILE_BYTES_MAX)
        r = refuse(diag, path, "it is too long");
    if (r == 0) {
        text = malloc(FILE_BYTES_MAX + 1);
        if (!text)
            r = sl_diag_set(diag, -ENOMEM, "%.300s is not used: not enough memory", path);
    }
    while (r == 0 && len < FILE_BYTES_MAX &&
           (n = read(fd, text + len, FILE_BYTES_MAX - len)) > 0)
        len += (size_t)n;
    if (r == 0 && n < 0)
        r = sl_diag_set(diag, -EIO, "%.300s is not used: %s", path, strerror(errno));
    close(fd);
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_text = text;
    *ret_len = len;
    return 0;
}

static bool is_text(const struct sl_json *node, const char *want)
{
    const char *text = sl_json_get_string(node, NULL);

    return text && !strcmp(text, want);
}

static bool read_date(struct sl_tuned *tuned, const struct sl_json *node)
{
    const char *text = sl_json_get_string(node, NULL);
    struct tm tm = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;

    if (!end || *end || strlen(text) >= sizeof(tuned->date))
        return false;
    (void)strcpy(tuned->date, text);
    sl_text_clean(tuned->date);
    return true;
}

static bool read_purpose(struct sl_tuned *tuned, const struct sl_json *node)
{
    for (int p = 0; p < SL_TUNE_PURPOSES; p++)
        if (is_text(node, purposes[p])) {
            tuned->purpose = (enum sl_tune_purpose)p;
            return true;
        }
    return false;
}

/* Numbers, each once, of CPUs that this thread may use. */
static bool read_cpus(struct sl_tuned *tuned, const struct sl_json *node)
{
    cpu_set_t allowed[SL_TOPOLOGY_CPUS_MAX / CPU_SETSIZE];
    size_t n = sl_json_n_items(node);

    if (!sl_json_is(node, SL_JSON_ARRAY) || n < 1 || n > SL_POOL_WORKERS_MAX ||
        sched_getaffinity(0, sizeof(allowed), allowed) < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t cpu;

        if (!sl_json_get_i64(sl_json_item(node, i), &cpu) || cpu < -1 ||
            cpu >= SL_TOPOLOGY_CPUS_MAX)
            return false;
        if (cpu >= 0 && !CPU_ISSET_S((size_t)cpu, sizeof(allowed), allowed))
            return false;
        for (size_t k = 0; k < i && cpu >= 0; k++)
            if (tuned->cpus[k] == cpu)
                return false;
        tuned->cpus[i] = (int32_t)cpu;
    }
    tuned->n = (uint32_t)n;
    return true;
}

static bool read_rates(struct sl_tuned *tuned, const struct sl_json *root)
{
    for (int p = 0; p < SL_TUNE_PURPOSES; p++) {
        double rate = 0.0;

        if (!sl_json_get_f64(sl_json_find(root, rate_keys[p]), &rate) ||
            !(rate > 0.0 && rate < 1e12))
            return false;
        tuned->rates[p] = rate;
    }
    return true;
}

static int read_root(struct sl_tuned *tuned, const char *path, const struct sl_tuned_key *key,
                     const struct sl_json *root, struct sl_diag *diag)
{
    int64_t version = 0;

    if (!sl_json_get_i64(sl_json_find(root, "tune"), &version))
        return refuse(diag, path, "nothing that tune wrote is in it");
    if (version != SL_TUNED_VERSION)
        return refuse(diag, path, "it has version %" PRId64 ", expected %d", version,
                      SL_TUNED_VERSION);
    if (!is_text(sl_json_find(root, "machine"), key->machine))
        return refuse(diag, path, "it was made for another machine");
    if (!is_text(sl_json_find(root, "model"), key->model))
        return refuse(diag, path, "it was made for another model");
    if (!read_date(tuned, sl_json_find(root, "date")))
        return refuse(diag, path, "its date is damaged");
    if (!read_purpose(tuned, sl_json_find(root, "for")))
        return refuse(diag, path, "its purpose is damaged");
    if (!read_cpus(tuned, sl_json_find(root, "cpus")))
        return refuse(diag, path, "its CPUs are damaged, or may not be used");
    if (!read_rates(tuned, root))
        return refuse(diag, path, "its rates are damaged");
    return 0;
}

int sl_tuned_load(struct sl_tuned *ret, const char *path, const struct sl_tuned_key *key,
                  struct sl_diag *diag)
{
    struct sl_tuned tuned = {.n = 0};
    struct sl_json_doc *doc = NULL;
    struct sl_diag why;
    char *text = NULL;
    size_t len = 0;
    int r = read_file(path, &text, &len, diag);

    if (r < 0)
        return r;
    if (sl_json_parse(&doc, text, len, &why) < 0)
        r = refuse(diag, path, "it is no JSON: %s", why.text);
    else
        r = read_root(&tuned, path, key, sl_json_root(doc), diag);
    sl_json_free(doc);
    free(text);
    if (r == 0)
        *ret = tuned;
    return r;
}
