/* Names in a repo are other people's: they are escaped for the terminal. */
#include "cli/pullshow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/escape.h"
#include "cli/report.h"
#include "cli/units.h"

#define CHOICES_SHOWN 40u
#define COMMIT_SHOWN 12

static const char *const state_keys[] = {
    [SL_HUBCACHE_ABSENT] = "absent",
    [SL_HUBCACHE_BEGUN] = "begun",
    [SL_HUBCACHE_WHOLE] = "here",
};

/* Of all parts: the least that is true of one. */
static enum sl_hubcache_state state_of(const struct sl_pullrun *run,
                                       const struct sl_hubmodel *model)
{
    enum sl_hubcache_state least = SL_HUBCACHE_WHOLE, most = SL_HUBCACHE_ABSENT;

    for (uint32_t i = 0; i < model->n_parts; i++) {
        const struct sl_hubfile *part = sl_hubpick_part(&run->list, model, i);
        enum sl_hubcache_state state = SL_HUBCACHE_ABSENT;
        uint64_t bytes;

        if (part && part->sha256[0])
            state = sl_hubcache_find_blob(&run->cache, part->sha256, &bytes);
        least = state < least ? state : least;
        most = state > most ? state : most;
    }
    return least == SL_HUBCACHE_WHOLE ? least : most != SL_HUBCACHE_ABSENT ? SL_HUBCACHE_BEGUN
                                                                           : most;
}

static void add_model(struct sl_strbuf *out, const struct sl_hubmodel *model, const char *state)
{
    char size[SL_UNITS_BYTES];

    sl_strbuf_add_fmt(out, "%9s  %-8s  ", sl_units_size(size, model->bytes),
                      model->type[0] ? model->type : "-");
    if (state)
        sl_strbuf_add_fmt(out, "%-6s  ", state);
    sl_escape_add(out, model->first->path);
    if (model->n_parts > 1)
        sl_strbuf_add_fmt(out, "  (%u parts)", model->n_parts);
    sl_strbuf_add_str(out, "\n");
}

static int print_table(const struct sl_pullrun *run)
{
    struct sl_strbuf out = {0};
    int r;

    if (!run->pick.n_models)
        sl_strbuf_add_fmt(&out, "%s has no GGUF files.\n", run->name.repo);
    else
        sl_strbuf_add_fmt(&out, "%9s  %-8s  %-6s  %s\n", "SIZE", "TYPE", "STATE", "FILE");
    for (size_t i = 0; i < run->pick.n_models; i++)
        add_model(&out, &run->pick.models[i],
                  state_keys[state_of(run, &run->pick.models[i])]);
    if (out.error)
        (void)sl_report_error("not enough memory");
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

static int print_json(const struct sl_pullrun *run)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "repo", run->name.repo);
    sl_jsonwriter_member_string(&w, "revision", run->name.revision);
    sl_jsonwriter_member_string(&w, "commit", run->list.commit);
    sl_jsonwriter_member_array(&w, "models");
    for (size_t i = 0; i < run->pick.n_models; i++) {
        const struct sl_hubmodel *model = &run->pick.models[i];

        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "file", model->first->path);
        sl_jsonwriter_member_u64(&w, "parts", model->n_parts);
        sl_jsonwriter_member_u64(&w, "bytes", model->bytes);
        sl_jsonwriter_member_string(&w, "quantization", model->type);
        sl_jsonwriter_member_string(&w, "state", state_keys[state_of(run, model)]);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    return sl_report_end_json(&w);
}

int sl_pullshow_list(const struct sl_pullrun *run, bool is_json)
{
    return is_json ? print_json(run) : print_table(run);
}

int sl_pullshow_choices(const struct sl_pullrun *run, int r)
{
    const char *repo = run->name.repo, *tag = run->name.tag;
    struct sl_strbuf out = {0};

    if (!run->pick.n_models)
        return sl_report_error("%s has no GGUF files", repo);
    if (r == -ENOENT)
        (void)sl_report_error("%s has no model that \"%s\" means; it has these:", repo, tag);
    else if (tag[0])
        (void)sl_report_error("%s: more than one model may be meant by \"%s\"; give a file's name, "
                              "as %s:FILE", repo, tag, repo);
    else
        (void)sl_report_error("%s has several models and none of type " SL_HUBPICK_DEFAULT
                              "; give one as %s:TYPE or %s:FILE", repo, repo, repo);
    for (size_t i = 0; i < run->pick.n_models && i < CHOICES_SHOWN; i++)
        add_model(&out, &run->pick.models[i], NULL);
    if (run->pick.n_models > CHOICES_SHOWN)
        sl_strbuf_add_fmt(&out, "and %zu more: sluice pull --list %s\n",
                          run->pick.n_models - CHOICES_SHOWN, repo);
    if (out.ptr)
        fputs(out.ptr, stderr);
    sl_strbuf_done(&out);
    return SL_EXIT_FAILED;
}

void sl_pullshow_begin(const struct sl_pullrun *run, uint64_t missing_bytes, bool is_whole)
{
    uint64_t free_bytes = sl_hubcache_free_bytes(&run->cache), total = run->progress.total_bytes;
    struct sl_strbuf name = {0};
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES];

    sl_escape_add(&name, run->parts[0].file->path);
    fprintf(stderr, "model     %s of %s at %.*s, %s", name.ptr ? name.ptr : "", run->name.repo,
            COMMIT_SHOWN, run->list.commit, sl_units_size(a, total));
    if (run->n_parts > 1)
        fprintf(stderr, " in %u parts", run->n_parts);
    sl_strbuf_done(&name);
    if (is_whole) {
        fputs("\ndisk      it is there already\n", stderr);
        return;
    }
    sl_escape_add(&name, run->env.root);
    fprintf(stderr, "\ndisk      %s to download", sl_units_size(a, missing_bytes));
    if (missing_bytes < total)
        fprintf(stderr, " (%s are there)", sl_units_size(a, total - missing_bytes));
    if (free_bytes != UINT64_MAX)
        fprintf(stderr, ", %s free in %s", sl_units_size(b, free_bytes),
                name.ptr ? name.ptr : "");
    fputs("\n", stderr);
    sl_strbuf_done(&name);
}

static int write_result(const struct sl_pullrun *run, const char *model)
{
    const struct sl_hubmodel *chosen = &run->pick.models[run->pick.chosen];
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "repo", run->name.repo);
    sl_jsonwriter_member_string(&w, "revision", run->name.revision);
    sl_jsonwriter_member_string(&w, "commit", run->list.commit);
    sl_jsonwriter_member_string(&w, "model", model);
    sl_jsonwriter_member_string(&w, "path", run->path);
    sl_jsonwriter_member_u64(&w, "bytes", chosen->bytes);
    sl_jsonwriter_member_u64(&w, "fetched_bytes", run->fetched_bytes);
    sl_jsonwriter_member_u64(&w, "resumed_bytes", run->resumed_bytes);
    sl_jsonwriter_member_u64(&w, "failed_tries", run->n_faults);
    sl_jsonwriter_member_f64(&w, "seconds", run->seconds);
    sl_jsonwriter_member_array(&w, "files");
    for (uint32_t i = 0; i < chosen->n_parts; i++) {
        const struct sl_hubfile *part = sl_hubpick_part(&run->list, chosen, i);

        if (!part)
            continue; /* no memory for its name */
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "file", part->path);
        sl_jsonwriter_member_u64(&w, "bytes", part->bytes);
        sl_jsonwriter_member_string(&w, "sha256", part->sha256);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    if (run->is_planned)
        sl_pullplan_write(&w, &run->plan);
    return sl_report_end_json(&w);
}

int sl_pullshow_end(const struct sl_pullrun *run, bool is_json)
{
    const struct sl_hubmodel *chosen = &run->pick.models[run->pick.chosen];
    const char *tag = run->name.tag[0] ? run->name.tag : chosen->type;
    char *model = NULL, size[SL_UNITS_BYTES], time[32];
    bool is_main = !strcmp(run->name.revision, "main");
    int r;

    if (asprintf(&model, "%s%s%s%s%s", run->name.repo, is_main ? "" : "@",
                 is_main ? "" : run->name.revision, tag[0] ? ":" : "", tag) < 0)
        return sl_report_error("not enough memory");
    if (run->fetched_bytes) {
        fprintf(stderr, "done      %s in %s (%.1f MB/s), SHA-256 is right",
                sl_units_size(size, run->fetched_bytes),
                sl_pullprogress_time(time, run->seconds),
                run->seconds > 0.0 ? (double)run->fetched_bytes * 1e-6 / run->seconds : 0.0);
        if (run->n_faults)
            fprintf(stderr, "; %u tries failed on the way", run->n_faults);
        fprintf(stderr, "\nnext      sluice run %s\n", model);
    }
    if (is_json) {
        r = write_result(run, model);
    } else {
        r = sl_report_write(run->path, strlen(run->path));
        if (r == 0)
            r = sl_report_write("\n", 1);
        if (r == 0)
            r = sl_report_flush();
    }
    free(model);
    return r;
}
