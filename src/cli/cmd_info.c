/*
 * sluice info: what a file holds (metadata, tensors by role and type) and how this
 * machine would run it (bytes per token, kernels, threads).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/message.h"
#include "cli/metadata.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/packreport.h"
#include "cli/report.h"
#include "cli/units.h"
#include "experts/placement.h"
#include "model/engine.h"

#define KEY_JSON 512

struct info_args {
    struct sl_model_args model;
    bool json;
};

struct group {
    uint64_t n, bytes;
};

struct info {
    struct sl_opened opened;
    struct sl_topology *topology;
    struct sl_placement placement;
    struct group groups[SL_ROLE_COUNT][SL_DTYPE_LIMIT];
    bool is_multiplied[SL_DTYPE_LIMIT]; /* types of matrices */
    struct sl_packreport pack;          /* if the file is one */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct info_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->model;
        break;
    case KEY_JSON: args->json = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Print what MODEL, a GGUF file or a pack, holds and how it would run here.",
    .children = children,
};

static void count_tensors(struct info *info)
{
    const struct sl_gguf *gguf = info->opened.model->gguf;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);
        enum sl_role role = sl_weights_role(t->name);

        if (t->dtype >= SL_DTYPE_LIMIT)
            continue; /* of no use to us, or the model would not have opened */
        info->groups[role][t->dtype].n++;
        info->groups[role][t->dtype].bytes += t->bytes;
        if (t->n_dims > 1 && role != SL_ROLE_NORM && role != SL_ROLE_OTHER)
            info->is_multiplied[t->dtype] = true;
    }
}

static double mb(uint64_t bytes)
{
    return (double)bytes * 1e-6;
}

static void print_model(const struct info *info)
{
    const struct sluice_model_info *m = &info->opened.info;
    const struct sl_gguf *gguf = info->opened.model->gguf;

    printf("file          %s\n", m->path);
    if (info->opened.model->pack)
        printf("              pack of a GGUF %" PRIu32 ", %.1f MB\n", sl_gguf_version(gguf),
               mb(m->file_bytes));
    else
        printf("              GGUF %" PRIu32 ", %" PRIu32 " part%s, %.1f MB\n",
               sl_gguf_version(gguf), sl_gguf_n_splits(gguf),
               sl_gguf_n_splits(gguf) == 1 ? "" : "s", mb(m->file_bytes));
    printf("model         %s%s%s\n", m->architecture, m->name[0] ? ", " : "", m->name);
    printf("layers        %" PRIu32 ": %" PRIu32 " attention, %" PRIu32 " convolution", m->n_layers,
           m->n_attn_layers, m->n_layers - m->n_attn_layers);
    if (m->n_moe_layers)
        printf("; %" PRIu32 " with %" PRIu32 " experts, %" PRIu32 " used", m->n_moe_layers,
               m->n_experts, m->n_experts_used);
    printf("\ncontext       %" PRIu32 " tokens\n", m->n_ctx_train);
    printf("vocabulary    %" PRIu32 " tokens, bos %" PRId32 ", eos %" PRId32 ", splitting %s\n",
           m->n_vocab, m->bos, m->eos,
           sl_tokenizer_has_jit(info->opened.model->tokenizer) ? "compiled" : "interpreted");
    printf("chat          %s%s\n", m->chat_template,
           info->opened.model->is_chat_template_known    ? ""
           : sl_message_has_template(info->opened.model) ? " (the file's own template is not known)"
                                                  : " (the file has no template)");
    printf("weights       %.1f MB, of which %.1f MB are read per token\n", mb(m->weight_bytes),
           mb(m->token_bytes));
    if (info->opened.model->pack)
        sl_packreport_print(&info->pack);
}

static void print_machine(const struct info *info)
{
    const struct sl_placement *p = &info->placement;

    printf("cpu           %s (this machine has %s)\n", info->opened.info.cpu,
           sl_cpu_level_name(sl_cpu_best()));
    printf("threads       %" PRIu32 " on logical CPUs", info->opened.info.n_threads);
    for (uint32_t i = 0; i < p->n_threads; i++)
        if (p->cpus[i] < 0)
            printf(" any");
        else
            printf(" %" PRId32, p->cpus[i]);
    if (info->topology)
        printf(" (%" PRIu32 " cores, %" PRIu32 " L3, %" PRIu32 " node%s, %s)",
               info->topology->n_cores, info->topology->n_l3, info->topology->n_nodes,
               info->topology->n_nodes == 1 ? "" : "s", info->topology->source);
    printf("\n");
}

/* Lines of text as one, with a separator. */
static void print_lines(const char *lines, const char *separator)
{
    while (*lines) {
        size_t len = strcspn(lines, "\n");

        printf("%.*s", (int)len, lines);
        lines += len + (lines[len] == '\n');
        if (*lines)
            printf("%s", separator);
    }
    printf("\n");
}

/* What a session of defaults would find. */
static void print_memory(const struct info *info)
{
    const struct sluice_model_info *m = &info->opened.info;
    const struct sl_plan *p = &info->opened.model->plan;
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES];

    if (!m->is_streaming) {
        printf("memory        resident: %s of weights", sl_units_size(a, m->weight_bytes));
        printf(", a context of %" PRIu32 " takes %s, computing %s\n", p->session.n_ctx,
               sl_units_size(a, p->kv_bytes), sl_units_size(b, p->scratch_bytes));
        if (p->min_bytes)
            printf("              with less, experts stream: from --ram %s on\n",
                   sl_units_ram(a, p->min_bytes));
        return;
    }
    printf("memory        streaming within %s: ", sl_units_size(a, m->ram_bytes));
    printf("%s of experts in a cache of %s\n", sl_units_size(a, p->expert_bytes),
           sl_units_size(b, p->cache_bytes));
    printf("              %s pinned, %s; ", sl_units_size(a, m->pinned_bytes),
           m->locked_bytes >= m->pinned_bytes ? "locked" :
           m->locked_bytes ? "partly locked" : "not locked");
    printf("a context of %" PRIu32 " takes %s, ", p->session.n_ctx, sl_units_size(a, p->kv_bytes));
    printf("computing %s\n", sl_units_size(a, p->scratch_bytes));
    printf("reading       %s\n", m->io);
    if (m->notes && m->notes[0]) {
        printf("notes         ");
        print_lines(m->notes, "\n              ");
    }
}

static void print_tensors(const struct info *info)
{
    printf("\n%-12s %-8s %8s %14s\n", "tensors", "type", "number", "bytes");
    for (int role = 0; role < SL_ROLE_COUNT; role++)
        for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++)
            if (info->groups[role][type].n)
                printf("%-12s %-8s %8" PRIu64 " %14" PRIu64 "\n",
                       sl_weights_role_name((enum sl_role)role), sl_dtype_name(type),
                       info->groups[role][type].n, info->groups[role][type].bytes);
    printf("\n%-12s %-10s %-10s\n", "kernels", "one token", "many");
    for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++)
        if (info->is_multiplied[type])
            printf("%-12s %-10s %-10s\n", sl_dtype_name(type),
                   info->opened.model->kernels.matmul[type].one_isa,
                   info->opened.model->kernels.matmul[type].many_isa);
}

static void print_metadata(const struct info *info)
{
    const struct sl_gguf *gguf = info->opened.model->gguf;

    printf("\nmetadata\n");
    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++) {
        const struct sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);
        struct sl_jsonwriter w;

        printf("%.*s = ", (int)kv->key.len, kv->key.ptr);
        sl_jsonwriter_init(&w, stdout, SL_JSONWRITER_SPACED);
        sl_metadata_write(&w, kv, true);
        (void)sl_jsonwriter_done(&w); /* the flush at the end tells */
        if (kv->type == SL_GGUF_ARRAY)
            printf(" (%" PRIu64 " x %s)", kv->n_items, sl_gguf_type_name(kv->item_type));
        printf("\n");
    }
}

static void write_u64(struct sl_jsonwriter *w, const char *key, uint64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_u64(w, value);
}

static void write_string(struct sl_jsonwriter *w, const char *key, const char *value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_string(w, value);
}

static void write_model(struct sl_jsonwriter *w, const struct info *info)
{
    const struct sluice_model_info *m = &info->opened.info;

    write_string(w, "path", m->path);
    write_u64(w, "gguf_version", sl_gguf_version(info->opened.model->gguf));
    write_u64(w, "parts", sl_gguf_n_splits(info->opened.model->gguf));
    write_string(w, "architecture", m->architecture);
    write_string(w, "name", m->name);
    write_u64(w, "layers", m->n_layers);
    write_u64(w, "attention_layers", m->n_attn_layers);
    write_u64(w, "moe_layers", m->n_moe_layers);
    write_u64(w, "experts", m->n_experts);
    write_u64(w, "experts_used", m->n_experts_used);
    write_u64(w, "context", m->n_ctx_train);
    write_u64(w, "vocabulary", m->n_vocab);
    sl_jsonwriter_key(w, "bos");
    sl_jsonwriter_i64(w, m->bos);
    sl_jsonwriter_key(w, "eos");
    sl_jsonwriter_i64(w, m->eos);
    sl_jsonwriter_key(w, "tokenizer_jit");
    sl_jsonwriter_bool(w, sl_tokenizer_has_jit(info->opened.model->tokenizer));
    write_string(w, "chat_template", m->chat_template);
    sl_jsonwriter_key(w, "chat_template_known");
    sl_jsonwriter_bool(w, info->opened.model->is_chat_template_known);
    write_u64(w, "file_bytes", m->file_bytes);
    write_u64(w, "weight_bytes", m->weight_bytes);
    write_u64(w, "token_bytes", m->token_bytes);
}

static void write_machine(struct sl_jsonwriter *w, const struct info *info)
{
    write_string(w, "cpu", info->opened.info.cpu);
    write_string(w, "cpu_best", sl_cpu_level_name(sl_cpu_best()));
    write_u64(w, "threads", info->opened.info.n_threads);
    sl_jsonwriter_key(w, "thread_cpus");
    sl_jsonwriter_begin_array(w);
    for (uint32_t i = 0; i < info->placement.n_threads; i++)
        sl_jsonwriter_i64(w, info->placement.cpus[i]);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_key(w, "kernels");
    sl_jsonwriter_begin_object(w);
    for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++) {
        if (!info->is_multiplied[type])
            continue;
        sl_jsonwriter_key(w, sl_dtype_name(type));
        sl_jsonwriter_begin_object(w);
        write_string(w, "one_token", info->opened.model->kernels.matmul[type].one_isa);
        write_string(w, "many_tokens", info->opened.model->kernels.matmul[type].many_isa);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_object(w);
}

static void write_memory(struct sl_jsonwriter *w, const struct info *info)
{
    const struct sluice_model_info *m = &info->opened.info;
    const struct sl_plan *p = &info->opened.model->plan;

    sl_jsonwriter_key(w, "memory");
    sl_jsonwriter_begin_object(w);
    write_string(w, "experts", m->is_streaming ? "streaming" : "resident");
    write_u64(w, "ram_bytes", m->ram_bytes);
    write_u64(w, "pinned_bytes", m->pinned_bytes);
    write_u64(w, "locked_bytes", m->locked_bytes);
    write_u64(w, "cache_bytes", p->cache_bytes);
    write_u64(w, "kv_bytes", p->kv_bytes);
    write_u64(w, "scratch_bytes", p->scratch_bytes);
    write_u64(w, "overhead_bytes", p->overhead_bytes);
    write_u64(w, "ctx", p->session.n_ctx);
    write_u64(w, "min_bytes", p->min_bytes);
    write_u64(w, "resident_bytes", p->resident_bytes);
    write_string(w, "io", m->io ? m->io : "");
    write_string(w, "notes", m->notes ? m->notes : "");
    sl_jsonwriter_end_object(w);
}

static void write_tensors(struct sl_jsonwriter *w, const struct info *info)
{
    sl_jsonwriter_key(w, "tensors");
    sl_jsonwriter_begin_array(w);
    for (int role = 0; role < SL_ROLE_COUNT; role++)
        for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++) {
            if (!info->groups[role][type].n)
                continue;
            sl_jsonwriter_begin_object(w);
            write_string(w, "role", sl_weights_role_name((enum sl_role)role));
            write_string(w, "type", sl_dtype_name(type));
            write_u64(w, "number", info->groups[role][type].n);
            write_u64(w, "bytes", info->groups[role][type].bytes);
            sl_jsonwriter_end_object(w);
        }
    sl_jsonwriter_end_array(w);
}

static int write_json(const struct info *info)
{
    const struct sl_gguf *gguf = info->opened.model->gguf;
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, stdout, SL_JSONWRITER_PRETTY);
    sl_jsonwriter_begin_object(&w);
    write_model(&w, info);
    write_machine(&w, info);
    write_memory(&w, info);
    write_tensors(&w, info);
    if (info->opened.model->pack) {
        sl_jsonwriter_key(&w, "pack");
        sl_jsonwriter_begin_object(&w);
        sl_packreport_write(&w, &info->pack);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_key(&w, "metadata");
    sl_jsonwriter_begin_object(&w);
    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++) {
        const struct sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);

        sl_jsonwriter_key_len(&w, kv->key.ptr, kv->key.len);
        sl_metadata_write(&w, kv, false);
    }
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_end_object(&w);
    return sl_jsonwriter_done(&w) < 0 ? sl_report_flush() : sl_report_write("\n", 1);
}

/* Where the model's threads are: the same plan that the engine makes. */
static int plan(struct info *info, const struct sl_model_args *args)
{
    struct sl_diag diag;
    int r;

    r = sl_topology_open(&info->topology, &diag);
    if (r == 0)
        r = sl_placement_plan(&info->placement, info->topology, args->opts.n_threads, &diag);
    return r < 0 ? sl_report_error("%s", diag.text) : 0;
}

int sl_cmd_info(int argc, char **argv)
{
    struct info_args args = {.model.opts.flags = SLUICE_MODEL_NO_WARM};
    struct info *info;
    int r;

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    info = calloc(1, sizeof(*info));
    if (!info)
        return sl_report_error("not enough memory");
    r = plan(info, &args.model);
    if (r == 0)
        r = sl_opened_open(&info->opened, &args.model, NULL);
    if (r == 0) {
        count_tensors(info);
        if (info->opened.model->pack)
            sl_packreport_make(&info->pack, info->opened.model->pack);
        if (args.json) {
            r = write_json(info);
        } else {
            print_model(info);
            print_machine(info);
            print_memory(info);
            print_tensors(info);
            print_metadata(info);
        }
        if (r == 0)
            r = sl_report_flush();
        r = r == 0 || r == -EPIPE ? SL_EXIT_OK : SL_EXIT_FAILED;
    }
    r = sl_opened_close(&info->opened, r);
    sl_placement_done(&info->placement);
    sl_topology_close(info->topology);
    free(info);
    return r;
}
