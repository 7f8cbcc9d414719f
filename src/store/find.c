/*
 * Every model gets a score for how well the text fits; those with the best one are
 * candidates. Then what is in the files decides, then whether they are copies of one.
 */
#include "store/find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/inspect.h"
#include "store/modelfile.h"
#include "store/nearname.h"
#include "store/ollama.h"

#define COMMIT_DIGITS_MIN 7
#define INSPECTED_MAX 256 /* candidates; more are not told apart by what they hold */

enum { /* of a fit; they add up */
    FITS_CASE = 1,
    FITS_FILE = 2,
    FITS_NAME = 4,
    FITS_LATEST = 8, /* it is what the name means without a tag */
};

struct span {
    const char *at;
    size_t len;
};

/* [host/]repo[@revision][:tag] */
struct query {
    const char *text;
    struct span host; /* "hf.co" and the like, else empty */
    struct span repo; /* without such a host */
    struct span revision, tag;
};

static bool same(struct span span, const char *text, bool with_case)
{
    return strlen(text) == span.len && !(with_case ? strncmp(span.at, text, span.len)
                                                   : strncasecmp(span.at, text, span.len));
}

static struct span rest(const char *from, const char *end)
{
    return (struct span){from, (size_t)(end - from)};
}

static struct query parse(const char *text)
{
    static const char *const schemes[] = {"https://", "http://"};
    struct query q = {.text = text};
    const char *begin = text, *end, *slash, *mark;

    for (int i = 0; i < 2; i++)
        if (!strncasecmp(begin, schemes[i], strlen(schemes[i])))
            begin += strlen(schemes[i]);
    end = begin + strlen(begin);
    slash = strrchr(begin, '/');
    mark = strrchr(slash ? slash : begin, ':');
    if (!mark && slash) { /* user/repo:folder/file */
        mark = strchr(begin, ':');
        slash = mark ? memrchr(begin, '/', (size_t)(mark - begin)) : slash;
    }
    if (mark) {
        q.tag = rest(mark + 1, end);
        end = mark;
    }
    mark = memchr(begin, '@', (size_t)(end - begin));
    if (mark) {
        q.revision = rest(mark + 1, end);
        end = mark;
    }
    slash = memchr(begin, '/', (size_t)(end - begin));
    if (slash && sl_ollama_host(begin, (size_t)(slash - begin))) {
        q.host = rest(begin, slash);
        begin = slash + 1;
    }
    q.repo = rest(begin, end);
    return q;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Whether the end of path, from a slash on, is the text; its last name may stand without
 * endings and part number. */
static bool fits_path(const char *path, const char *text, bool with_case)
{
    size_t path_len = strlen(path), len = strlen(text);
    const char *name = base_name(path);
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    size_t ends[2] = {path_len, (size_t)(name - path) + parsed.stem_len};

    for (int i = 0; i < 2; i++) {
        const char *from = path + ends[i] - len;

        if (len == 0 || len > ends[i] || (i == 1 && parsed.stem_len == 0) ||
            (from > path && from[-1] != '/'))
            continue;
        if (with_case ? !strncmp(from, text, len) : !strncasecmp(from, text, len))
            return true;
    }
    return false;
}

/* A reference's name, or the first digits of a commit, which is in the path. */
static bool fits_revision(const struct sl_store_model *m, struct span revision)
{
    static const char snapshots[] = "/snapshots/";
    const char *commit = m->path ? strstr(m->path, snapshots) : NULL;

    if (revision.len == 0 || same(revision, "main", true))
        return m->revision[0] == '\0';
    if (same(revision, m->revision, true))
        return true;
    return commit && revision.len >= COMMIT_DIGITS_MIN &&
           !strncasecmp(commit + strlen(snapshots), revision.at, revision.len);
}

static bool fits_hub_tag(const struct sl_store_model *m, struct span tag)
{
    const char *name = m->file ? base_name(m->file) : "";
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    char *text;
    bool fits;

    if (tag.len == 0)
        return true;
    if (!m->file)
        return false;
    if (sl_modelfile_has_tag(name, parsed.stem_len, tag.at, tag.len))
        return true;
    text = strndup(tag.at, tag.len);
    fits = text && fits_path(m->file, text, false);
    free(text);
    return fits;
}

static int score_hub(const struct sl_store_model *m, const struct query *q)
{
    const char *host = q->host.len ? sl_ollama_host(q->host.at, q->host.len) : "hf.co";

    if (strcmp(host, "hf.co") != 0 || (q->host.len && m->kind != SL_STORE_HF) ||
        q->repo.len == 0 || !same(q->repo, m->repo, false) || !fits_revision(m, q->revision) ||
        !fits_hub_tag(m, q->tag))
        return 0;
    return FITS_NAME + FITS_LATEST + (same(q->repo, m->repo, true) ? FITS_CASE : 0);
}

/* The host, or its default, before namespace, or its default, and model. */
static int score_ollama(const struct sl_store_model *m, const struct query *q)
{
    const char *host = q->host.len ? sl_ollama_host(q->host.at, q->host.len) : SL_OLLAMA_HOST;
    struct span repo = q->repo, space = {SL_OLLAMA_NAMESPACE, strlen(SL_OLLAMA_NAMESPACE)};
    const char *first = memchr(repo.at, '/', repo.len);
    const char *second = first ? memchr(first + 1, '/', (size_t)(repo.at + repo.len - first - 1))
                               : NULL;
    struct span given = {host, strlen(host)};
    const char *at = m->repo;
    struct span want[3];
    bool with_case = true;

    if (q->revision.len || !m->repo[0])
        return 0;
    if (second && !q->host.len)
        given = rest(repo.at, first);
    else if (second)
        return 0;
    if (second)
        repo = rest(first + 1, repo.at + repo.len), first = second;
    if (first) {
        space = rest(repo.at, first);
        repo = rest(first + 1, repo.at + repo.len);
    }
    want[0] = given, want[1] = space, want[2] = repo;
    for (int i = 0; i < 3; i++) {
        size_t len = strcspn(at, "/");

        if (len != want[i].len || strncasecmp(at, want[i].at, len) != 0)
            return 0;
        with_case &= !strncmp(at, want[i].at, len);
        at += len + (at[len] == '/');
    }
    if (q->tag.len && !same(q->tag, m->tag, false))
        return 0;
    return FITS_NAME + (with_case ? FITS_CASE : 0) +
           (q->tag.len || !strcasecmp(m->tag, SL_OLLAMA_TAG) ? FITS_LATEST : 0);
}

static int score(const struct sl_store_model *m, const struct query *q)
{
    int fit = m->kind == SL_STORE_OLLAMA ? score_ollama(m, q)
              : m->kind == SL_STORE_FOLDER ? 0
                                           : score_hub(m, q);

    if (fit || !m->path || m->revision[0])
        return fit;
    if (fits_path(m->path, q->text, true))
        return FITS_FILE + FITS_CASE;
    return fits_path(m->path, q->text, false) ? FITS_FILE : 0;
}

static int collect(struct sl_store *store, const struct query *q, struct sl_find *ret)
{
    int best = 1;

    for (size_t i = 0; i < store->n_models; i++) {
        int fit = score(&store->models[i], q);

        if (fit > best) {
            best = fit;
            ret->n = 0;
        }
        if (fit == best)
            ret->models[ret->n++] = &store->models[i];
    }
    return ret->n ? 0 : -ENOENT;
}

/* How good a candidate is: what can be run is better than what cannot. */
static int worth(struct sl_store_model *m)
{
    sl_inspect_model(m);
    return sl_inspect_is_usable(m) ? 2 : m->path && m->state == SL_STORE_OK;
}

static void keep_best(struct sl_find *find)
{
    int best = 0;
    size_t n = 0;

    if (find->n > INSPECTED_MAX)
        return;
    for (size_t i = 0; i < find->n; i++)
        if (worth(find->models[i]) > best)
            best = worth(find->models[i]);
    for (size_t i = 0; i < find->n; i++)
        if (worth(find->models[i]) == best)
            find->models[n++] = find->models[i];
    find->n = n;
}

/* Whether two are one file, or copies of it in the folders of different programs. */
static bool is_copy(const struct sl_store_model *a, const struct sl_store_model *b)
{
    if (a->ino && a->ino == b->ino && a->dev == b->dev)
        return true;
    if (a->digest && b->digest)
        return !strcasecmp(a->digest, b->digest);
    return a->kind != b->kind && a->file && b->file && a->bytes == b->bytes &&
           a->state == SL_STORE_OK && b->state == SL_STORE_OK &&
           !strcmp(base_name(a->file), base_name(b->file));
}

static void drop_copies(struct sl_find *find)
{
    size_t n = 0;

    for (size_t i = 0; i < find->n; i++) {
        bool is_double = false;

        for (size_t k = 0; k < n && !is_double && n <= INSPECTED_MAX; k++)
            is_double = is_copy(find->models[k], find->models[i]);
        if (!is_double)
            find->models[n++] = find->models[i];
    }
    find->n = n;
}

static uint32_t distance(const struct sl_store_model *m, const char *text)
{
    uint32_t d = sl_nearname_distance(text, m->name), by_file = UINT32_MAX;

    if (m->path && m->kind != SL_STORE_OLLAMA)
        by_file = sl_nearname_distance(text, base_name(m->path));
    return d < by_file ? d : by_file;
}

/* Those with the nearest names, nearest first; what cannot be run is not suggested. */
static void find_near(struct sl_store *store, const char *text, struct sl_find *ret)
{
    uint32_t near[SL_FIND_NEAR_MAX];

    ret->n = 0;
    for (size_t i = 0; i < store->n_models; i++) {
        struct sl_store_model *m = &store->models[i];
        uint32_t d = distance(m, text);
        size_t at = ret->n;

        while (at > 0 && near[at - 1] > d)
            at--;
        if (d == UINT32_MAX || at == SL_FIND_NEAR_MAX || worth(m) < 2)
            continue;
        if (ret->n < SL_FIND_NEAR_MAX)
            ret->n++;
        for (size_t k = ret->n - 1; k > at; k--) {
            near[k] = near[k - 1];
            ret->models[k] = ret->models[k - 1];
        }
        near[at] = d;
        ret->models[at] = m;
    }
}

int sl_find_model(struct sl_store *store, const char *text, struct sl_find *ret)
{
    struct query q = parse(text);

    *ret = (struct sl_find){.models = calloc(store->n_models + SL_FIND_NEAR_MAX,
                                             sizeof(struct sl_store_model *))};
    if (!ret->models)
        return -ENOMEM;
    if (collect(store, &q, ret) < 0) {
        find_near(store, text, ret);
        return -ENOENT;
    }
    keep_best(ret);
    drop_copies(ret);
    return ret->n == 1 ? 0 : -ENOTUNIQ;
}

void sl_find_done(struct sl_find *find)
{
    free(find->models);
    *find = (struct sl_find){0};
}
