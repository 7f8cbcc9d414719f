/*
 * sluice info: what a file holds (metadata, tensors by role and type) and how this
 * machine would run it (bytes per token, kernels, threads).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/message.h"
#include "cli/metadata.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/packreport.h"
#include "cli/report.h"
#include "cli/units.h"
#include "cli/workerinfo.h"
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

const struct argp sl_argp_info = {
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
    printf("cpu           %s (this machine has %s)\n", info->opened.info.cpu,
           sl_cpu_level_name(sl_cpu_best()));
    sl_workerinfo_print_machine(info->opened.model);
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
        if (m->copy_bytes)
            printf(", %s of copies for NUMA nodes", sl_units_size(a, m->copy_bytes));
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
    printf("              %s pinned", sl_units_size(a, m->pinned_bytes));
    if (m->copy_bytes)
        printf(" and %s of copies for NUMA nodes", sl_units_size(a, m->copy_bytes));
    printf(", %s; ",
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

static void write_model(struct sl_jsonwriter *w, const struct info *info)
{
    const struct sluice_model *model = info->opened.model;
    const struct sluice_model_info *m = &info->opened.info;

    sl_jsonwriter_member_string(w, "path", m->path);
    sl_jsonwriter_member_u64(w, "gguf_version", sl_gguf_version(model->gguf));
    sl_jsonwriter_member_u64(w, "parts", sl_gguf_n_splits(model->gguf));
    sl_jsonwriter_member_string(w, "architecture", m->architecture);
    sl_jsonwriter_member_string(w, "name", m->name);
    sl_jsonwriter_member_u64(w, "layers", m->n_layers);
    sl_jsonwriter_member_u64(w, "attention_layers", m->n_attn_layers);
    sl_jsonwriter_member_u64(w, "moe_layers", m->n_moe_layers);
    sl_jsonwriter_member_u64(w, "experts", m->n_experts);
    sl_jsonwriter_member_u64(w, "experts_used", m->n_experts_used);
    sl_jsonwriter_member_u64(w, "context", m->n_ctx_train);
    sl_jsonwriter_member_u64(w, "vocabulary", m->n_vocab);
    sl_jsonwriter_member_i64(w, "bos", m->bos);
    sl_jsonwriter_member_i64(w, "eos", m->eos);
    sl_jsonwriter_member_bool(w, "tokenizer_jit", sl_tokenizer_has_jit(model->tokenizer));
    sl_jsonwriter_member_string(w, "chat_template", m->chat_template);
    sl_jsonwriter_member_bool(w, "chat_template_known", model->is_chat_template_known);
    sl_jsonwriter_member_u64(w, "file_bytes", m->file_bytes);
    sl_jsonwriter_member_u64(w, "weight_bytes", m->weight_bytes);
    sl_jsonwriter_member_u64(w, "token_bytes", m->token_bytes);
}

static void write_machine(struct sl_jsonwriter *w, const struct info *info)
{
    const struct sl_kernels_matmul *matmul = info->opened.model->kernels.matmul;

    sl_jsonwriter_member_string(w, "cpu", info->opened.info.cpu);
    sl_jsonwriter_member_string(w, "cpu_best", sl_cpu_level_name(sl_cpu_best()));
    sl_workerinfo_write_machine(w, info->opened.model);
    sl_jsonwriter_member_object(w, "kernels");
    for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++) {
        if (!info->is_multiplied[type])
            continue;
        sl_jsonwriter_member_object(w, sl_dtype_name(type));
        sl_jsonwriter_member_string(w, "one_token", matmul[type].one_isa);
        sl_jsonwriter_member_string(w, "many_tokens", matmul[type].many_isa);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_object(w);
}

static void write_memory(struct sl_jsonwriter *w, const struct info *info)
{
    const struct sluice_model_info *m = &info->opened.info;
    const struct sl_plan *p = &info->opened.model->plan;

    sl_jsonwriter_member_object(w, "memory");
    sl_jsonwriter_member_string(w, "experts", m->is_streaming ? "streaming" : "resident");
    sl_jsonwriter_member_u64(w, "ram_bytes", m->ram_bytes);
    sl_jsonwriter_member_u64(w, "pinned_bytes", m->pinned_bytes);
    sl_jsonwriter_member_u64(w, "locked_bytes", m->locked_bytes);
    sl_jsonwriter_member_u64(w, "copy_bytes", m->copy_bytes);
    sl_jsonwriter_member_u64(w, "cache_bytes", p->cache_bytes);
    sl_jsonwriter_member_u64(w, "kv_bytes", p->kv_bytes);
    sl_jsonwriter_member_u64(w, "scratch_bytes", p->scratch_bytes);
    sl_jsonwriter_member_u64(w, "overhead_bytes", p->overhead_bytes);
    sl_jsonwriter_member_u64(w, "ctx", p->session.n_ctx);
    sl_jsonwriter_member_u64(w, "min_bytes", p->min_bytes);
    sl_jsonwriter_member_u64(w, "resident_bytes", p->resident_bytes);
    sl_jsonwriter_member_string(w, "io", m->io ? m->io : "");
    sl_jsonwriter_member_string(w, "notes", m->notes ? m->notes : "");
    sl_jsonwriter_end_object(w);
}

static void write_tensors(struct sl_jsonwriter *w, const struct info *info)
{
    sl_jsonwriter_member_array(w, "tensors");
    for (int role = 0; role < SL_ROLE_COUNT; role++)
        for (uint32_t type = 0; type < SL_DTYPE_LIMIT; type++) {
            if (!info->groups[role][type].n)
                continue;
            sl_jsonwriter_begin_object(w);
            sl_jsonwriter_member_string(w, "role", sl_weights_role_name((enum sl_role)role));
            sl_jsonwriter_member_string(w, "type", sl_dtype_name(type));
            sl_jsonwriter_member_u64(w, "number", info->groups[role][type].n);
            sl_jsonwriter_member_u64(w, "bytes", info->groups[role][type].bytes);
            sl_jsonwriter_end_object(w);
        }
    sl_jsonwriter_end_array(w);
}

static int write_json(const struct info *info)
{
    const struct sl_gguf *gguf = info->opened.model->gguf;
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    write_model(&w, info);
    write_machine(&w, info);
    write_memory(&w, info);
    write_tensors(&w, info);
    if (info->opened.model->pack) {
        sl_jsonwriter_member_object(&w, "pack");
        sl_packreport_write(&w, &info->pack);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_member_object(&w, "metadata");
    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++) {
        const struct sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);

        sl_jsonwriter_key_len(&w, kv->key.ptr, kv->key.len);
        sl_metadata_write(&w, kv, false);
    }
    sl_jsonwriter_end_object(&w);
    return sl_report_end_json(&w);
}

int sl_cmd_info(int argc, char **argv)
{
    struct info_args args = {.model.opts.flags = SLUICE_MODEL_NO_WARM};
    struct info *info;
    int r;

    sl_cmdline_parse(&sl_argp_info, argc, argv, 0, &args);
    info = calloc(1, sizeof(*info));
    if (!info)
        return sl_report_error("not enough memory");
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
        r = sl_report_code(r);
    }
    r = sl_opened_close(&info->opened, r);
    free(info);
    return r;
}
