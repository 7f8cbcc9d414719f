/*
 * Order, so that an end at any moment leaves nothing false: locks, data, the names of all
 * blobs, then links to them, then the branch's reference.
 */
#include "cli/pullrun.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/pullhead.h"
#include "cli/pullshow.h"
#include "cli/report.h"
#include "cli/units.h"

#define CHANGES_MAX 3
#define DISK_SLACK_BYTES ((uint64_t)16 << 20) /* journals, folders, other programs */

static int stop(void *arg)
{
    return sl_interrupt_is_set();
}

int sl_pullrun_open(struct sl_pullrun *run)
{
    struct sl_diag diag = {""};
    struct sl_transfer_opts opts = {.stall_s = run->stall_s};
    char agent[64];
    int r = sl_hubenv_read(&run->env, &diag);

    (void)snprintf(agent, sizeof(agent), "sluice/%s", sluice_version());
    opts.user_agent = agent;
    opts.ca_file = run->env.ca_file;
    if (r == 0)
        r = sl_transfer_open(&run->transfer, &opts, &diag);
    run->hub = (struct sl_hub){.transfer = run->transfer, .retry = run->opts.retry,
                               .token = run->env.token[0] ? run->env.token : NULL, .stop = stop};
    if (r == 0)
        r = sl_hub_set_endpoint(&run->hub, run->env.endpoint, &diag);
    if (r == 0)
        r = sl_hubcache_open(&run->cache, run->env.root, run->name.repo);
    return r == 0 ? 0 : sl_report_error("%s", diag.text[0] ? diag.text : sl_err_text(r));
}

/* What a server's refusal may mean. */
static int report_refusal(const struct sl_pullrun *run, int r, const char *text)
{
    const char *repo = run->name.repo;

    if (r == -ECANCELED)
        return SL_EXIT_INTERRUPTED;
    if (r == -EACCES && !run->hub.token)
        return sl_report_error("%s: %s; there is no such repo, or it is not open to everyone: "
                               "then agree to its terms at %s/%s and set HF_TOKEN",
                               repo, text, run->hub.endpoint, repo);
    if (r == -EACCES)
        return sl_report_error("%s: %s; the token given may not read it, or there is no such "
                               "repo: see %s/%s", repo, text, run->hub.endpoint, repo);
    if (r == -ENOENT)
        return sl_report_error("%s: %s; at %s there is no such repo, or it has no %s", repo, text,
                               run->hub.endpoint, run->name.revision);
    return sl_report_error("%s: %s; asked was %s", repo, text, run->hub.endpoint);
}

int sl_pullrun_list(struct sl_pullrun *run)
{
    struct sl_diag diag = {""};
    int r;

    sl_hubpick_done(&run->pick);
    sl_hublist_done(&run->list);
    r = sl_hub_list(&run->hub, &run->name, &run->list, &diag);
    if (r < 0)
        return report_refusal(run, r, diag.text);
    if (run->list.n_refused)
        sl_report_note("%zu files of the repo have names or sizes that cannot be, and are left "
                       "out", run->list.n_refused);
    if (sl_hubpick_find(&run->pick, &run->list) < 0)
        return sl_report_error("not enough memory");
    return 0;
}

static int choose(struct sl_pullrun *run)
{
    const struct sl_hubmodel *model;
    int r = sl_hubpick_choose(&run->pick, run->name.tag);

    if (r < 0)
        return sl_pullshow_choices(run, r);
    model = &run->pick.models[run->pick.chosen];
    if (model->n_there < model->n_parts)
        return sl_report_error("%s: the repo has %u of %u parts of it", model->first->path,
                               model->n_there, model->n_parts);
    return 0;
}

static void drop_parts(struct sl_pullrun *run)
{
    for (uint32_t i = 0; i < run->n_parts; i++) {
        struct sl_pullrun_part *part = &run->parts[i];

        if (part->lock >= 0)
            (void)close(part->lock); /* which gives it back */
        sl_download_close(part->download);
        free(part->blob);
    }
    free(run->parts);
    run->parts = NULL;
    run->n_parts = 0;
}

/* The files of the chosen model, and what of them is there. */
static int find_parts(struct sl_pullrun *run)
{
    const struct sl_hubmodel *model = &run->pick.models[run->pick.chosen];

    run->parts = calloc(model->n_parts, sizeof(*run->parts));
    if (!run->parts)
        return sl_report_error("not enough memory");
    run->n_parts = model->n_parts;
    for (uint32_t i = 0; i < run->n_parts; i++)
        run->parts[i].lock = -1;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        struct sl_pullrun_part *part = &run->parts[i];

        part->file = sl_hubpick_part(&run->list, model, i);
        if (!part->file)
            return sl_report_error("not enough memory");
        if (!part->file->sha256[0] || !part->file->bytes)
            return sl_report_error("%s: the hub tells no SHA-256 of it", part->file->path);
        part->blob = sl_hubcache_blob_path(&run->cache, part->file->sha256);
        if (!part->blob)
            return sl_report_error("not enough memory");
        part->state = sl_hubcache_find_blob(&run->cache, part->file->sha256, &part->there_bytes);
        if (part->state == SL_HUBCACHE_WHOLE && part->there_bytes != part->file->bytes)
            return sl_report_error("%s has %llu bytes instead of %llu; another program may have "
                                   "left it: remove it, then pull again", part->blob,
                                   (unsigned long long)part->there_bytes,
                                   (unsigned long long)part->file->bytes);
    }
    return 0;
}

/* Bytes that are still to be written. */
static uint64_t missing_bytes(const struct sl_pullrun *run)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < run->n_parts; i++)
        if (run->parts[i].there_bytes < run->parts[i].file->bytes)
            bytes += run->parts[i].file->bytes - run->parts[i].there_bytes;
    return bytes;
}

/* Whether all parts have their names already. */
static bool is_whole(const struct sl_pullrun *run)
{
    for (uint32_t i = 0; i < run->n_parts; i++)
        if (run->parts[i].state != SL_HUBCACHE_WHOLE)
            return false;
    return true;
}

static int check_disk(const struct sl_pullrun *run)
{
    uint64_t need = missing_bytes(run), free_bytes = sl_hubcache_free_bytes(&run->cache);
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES];

    if (need + DISK_SLACK_BYTES <= free_bytes)
        return 0;
    return sl_report_error("not enough space: %s are to be written to %s, and %s are free there; "
                           "HF_HUB_CACHE names another folder", sl_units_size(a, need),
                           run->env.root, sl_units_size(b, free_bytes));
}

/* Locks and what an earlier run left. */
static int open_part(struct sl_pullrun *run, struct sl_pullrun_part *part,
                     const struct sl_download_events *events)
{
    struct sl_download_file file = {
        .token = run->hub.token, .token_home = run->hub.endpoint, .path = part->blob,
        .name = part->file->path, .bytes = part->file->bytes,
    };
    char url[SL_HUB_URL_BYTES];
    struct sl_diag diag = {""};
    uint64_t dropped;
    int r = sl_hubcache_lock(&run->cache, part->file->sha256, &part->lock, &diag);

    dropped = r == 0 ? sl_hubcache_drop_stale(&run->cache, part->file->path, part->file->sha256)
                     : 0;
    if (dropped)
        sl_report_note("%s has changed on the server since a download of it was begun; it begins "
                       "anew", part->file->path);
    if (r == 0) /* whoever had the lock may have finished it */
        part->state = sl_hubcache_find_blob(&run->cache, part->file->sha256, &part->there_bytes);
    if (r < 0 || part->state == SL_HUBCACHE_WHOLE)
        return r == 0 ? 0 : sl_report_error("%s", diag.text);
    memcpy(file.sha256, part->file->sha256, sizeof(file.sha256));
    r = sl_hub_file_url(&run->hub, run->name.repo, run->list.commit, part->file->path, url, &diag);
    file.url = url;
    if (r == 0)
        r = sl_download_open(&part->download, run->transfer, &file, &run->opts, events, &diag);
    return r == 0 ? 0 : sl_report_error("%s", diag.text);
}

static void count(struct sl_pullrun *run, const struct sl_pullrun_part *part)
{
    struct sl_download_state state;

    sl_download_get_state(part->download, &state);
    run->resumed_bytes += state.resumed_bytes;
    run->fetched_bytes += state.there_bytes - state.resumed_bytes;
    run->n_faults += state.n_faults;
}

/* -ESTALE is for the caller to act on, all else is reported. Returns it, or an exit code. */
static int report_part(struct sl_pullrun *run, const struct sl_pullrun_part *part, int r,
                       const char *text)
{
    uint64_t there = 0, total = 0;
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES];

    sl_pullprogress_end(&run->progress);
    if (r == -ESTALE)
        return r;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        struct sl_download_state state = {.there_bytes = run->parts[i].file->bytes};

        if (run->parts[i].download)
            sl_download_get_state(run->parts[i].download, &state);
        there += state.there_bytes;
        total += run->parts[i].file->bytes;
    }
    (void)sl_units_size(a, there);
    (void)sl_units_size(b, total);
    if (r == -ECANCELED) {
        fprintf(stderr, "sluice: interrupted; %s of %s are there, and the same command goes on "
                        "from there\n", a, b);
        return SL_EXIT_INTERRUPTED;
    }
    if (r == -EACCES || r == -ENOENT)
        return report_refusal(run, r, text);
    if (r == -EBADMSG)
        return sl_report_error("%s: %s", part->file->path, text);
    return sl_report_error("%s: %s; %s of %s are there, and the same command goes on from there",
                           part->file->path, text, a, b);
}

/* Get the heads of all parts, more of them until they are understood. */
static int plan(struct sl_pullrun *run)
{
    const struct sl_pullrun_part *at = NULL;
    struct sl_diag diag = {""};
    int r = sl_pullhead_plan(run, &at, &diag);

    if (r < 0)
        return report_part(run, at, r, diag.text[0] ? diag.text : sl_err_text(r));
    run->is_planned = true;
    sl_pullplan_print(&run->plan);
    return 0;
}

/* "y" from a person. */
static bool is_agreed(void)
{
    char answer[64];
    ssize_t n;

    fputs("Download it all the same? [y/N] ", stderr);
    n = read(STDIN_FILENO, answer, sizeof(answer)); /* which a Ctrl-C ends */
    if (n <= 0)
        fputs("\n", stderr);
    return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

static int ask(const struct sl_pullrun *run)
{
    bool is_person = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);

    if (!run->plan.is_bad)
        return 0;
    if (run->is_yes || is_person)
        sl_report_note("%s", run->plan.why);
    else
        return sl_report_error("%s; --yes downloads it all the same", run->plan.why);
    if (run->is_yes || is_agreed())
        return 0;
    if (sl_interrupt_is_set())
        return SL_EXIT_INTERRUPTED;
    return sl_report_error("nothing was downloaded but the file's head");
}

static int get_parts(struct sl_pullrun *run)
{
    for (uint32_t i = 0; i < run->n_parts; i++) {
        struct sl_pullrun_part *part = &run->parts[i];
        struct sl_diag diag = {""};
        int r;

        if (part->download) {
            r = sl_download_get_all(part->download, &diag);
            if (r < 0)
                return report_part(run, part, r, diag.text);
            count(run, part);
        }
        run->progress.before_bytes += part->file->bytes;
    }
    sl_pullprogress_end(&run->progress);
    return 0;
}

static int link_parts(struct sl_pullrun *run)
{
    struct sl_diag diag = {""};
    int r = 0;

    for (uint32_t i = 0; i < run->n_parts && r == 0; i++)
        r = sl_hubcache_link(&run->cache, run->list.commit, run->parts[i].file->path,
                             run->parts[i].file->sha256, &diag);
    if (r == 0)
        r = sl_hubcache_set_ref(&run->cache, run->name.revision, run->list.commit, &diag);
    run->path = sl_hubcache_file_path(&run->cache, run->list.commit, run->parts[0].file->path);
    if (r == 0 && !run->path)
        r = -ENOMEM;
    return r == 0 ? 0 : sl_report_error("%s", diag.text[0] ? diag.text : sl_err_text(r));
}

/* -ESTALE: the server has other files than it listed. Else an exit code. */
static int get_once(struct sl_pullrun *run, const struct sl_download_events *events)
{
    struct sl_diag diag = {""};
    int r = choose(run);

    drop_parts(run);
    if (r == 0)
        r = find_parts(run);
    if (r)
        return r;
    run->progress.total_bytes = run->progress.before_bytes = 0;
    for (uint32_t i = 0; i < run->n_parts; i++)
        run->progress.total_bytes += run->parts[i].file->bytes;
    sl_pullshow_begin(run, missing_bytes(run), is_whole(run));
    if (is_whole(run))
        return link_parts(run);
    r = check_disk(run);
    if (r == 0 && sl_hubcache_make(&run->cache, &diag) < 0)
        r = sl_report_error("%s", diag.text);
    for (uint32_t i = 0; i < run->n_parts && r == 0; i++)
        if (run->parts[i].state != SL_HUBCACHE_WHOLE)
            r = open_part(run, &run->parts[i], events);
    if (r == 0 && !run->is_planned)
        r = plan(run);
    if (r == 0)
        r = ask(run);
    if (r == 0)
        r = get_parts(run);
    return r == 0 ? link_parts(run) : r;
}

int sl_pullrun_get(struct sl_pullrun *run)
{
    const struct sl_download_events events = {.progress = sl_pullprogress_update,
                                              .arg = &run->progress};
    uint64_t begin_ns = sl_clock_ns();
    int r = get_once(run, &events);

    for (int i = 0; i < CHANGES_MAX && r == -ESTALE; i++) {
        sl_report_note("the file on the server is not the one that it listed; asking it again");
        r = sl_pullrun_list(run);
        run->is_planned = false;
        run->opts.is_any_tag = true; /* else tags that differ for no reason would hold it up */
        if (r == 0)
            r = get_once(run, &events);
    }
    run->seconds = (double)(sl_clock_ns() - begin_ns) * 1e-9;
    drop_parts(run);
    return r == -ESTALE ? sl_report_error("%s: the server goes on serving another file than it "
                                          "lists; try later", run->name.repo)
                        : r;
}

void sl_pullrun_close(struct sl_pullrun *run)
{
    drop_parts(run);
    sl_hubpick_done(&run->pick);
    sl_hublist_done(&run->list);
    sl_hubcache_close(&run->cache);
    sl_transfer_close(run->transfer);
    sl_hubenv_done(&run->env);
    free(run->path);
    run->path = NULL;
}
