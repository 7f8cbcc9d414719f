/*
 * A plan stays within its bound, takes what it calls the smallest, and chooses resident or
 * streaming as its header says. Shapes: the 24 B model from a file that ends after its
 * tensor table (first argument), and random ones (SL_SEED).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/measure.h"
#include "model/nodecopy.h"
#include "model/plan.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static const char *header_path;

struct model {
    struct sl_gguf *gguf;
    struct sl_hparams hp;
    struct sl_weights weights;
    uint64_t bytes;
};

static int open_model(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    struct sl_diag diag = { "" };

    assert_non_null(m);
    assert_int_equal(sl_gguf_open(&m->gguf, header_path, SL_GGUF_HEADLESS, &diag), 0);
    assert_int_equal(sl_hparams_read(&m->hp, m->gguf, &diag), 0);
    if (sl_weights_init(&m->weights, &m->hp, m->gguf, &diag) < 0)
        fail_msg("%s", diag.text);
    for (uint32_t i = 0; i < sl_gguf_n_tensors(m->gguf); i++)
        m->bytes += sl_gguf_tensor_at(m->gguf, i)->bytes;
    *state = m;
    return 0;
}

static int close_model(void **state)
{
    struct model *m = *state;

    sl_weights_done(&m->weights);
    sl_gguf_close(m->gguf);
    free(m);
    return 0;
}

static struct sl_plan_in in_for(const struct model *m)
{
    return (struct sl_plan_in){
        .hp = &m->hp,
        .weights = &m->weights,
        .n_workers = 2,
        .available_bytes = 64 * GIB,
        .weight_bytes = m->bytes,
        .metadata_bytes = 2 * MIB,
    };
}

static uint64_t sum(const struct sl_plan *p, const struct sl_plan_in *in)
{
    uint64_t weights = p->is_streaming ? p->shared_bytes + p->cache_bytes : in->weight_bytes;

    return weights + p->copy_bytes + p->kv_bytes + p->scratch_bytes + p->overhead_bytes;
}

static void check_plan(const struct sl_plan *p, const struct sl_plan_in *in)
{
    uint64_t kv, scratch;

    assert_true(sum(p, in) <= p->ram_bytes);
    sl_session_measure(in->hp, in->weights, &p->session, in->n_workers, &kv, &scratch);
    assert_int_equal(p->kv_bytes, kv);
    assert_int_equal(p->scratch_bytes, scratch);
    assert_int_equal(p->shared_bytes + p->expert_bytes, in->weight_bytes);
    assert_true(p->n_copies == 0 || (in->n_nodes > 1 && p->n_copies == in->n_nodes));
    assert_int_equal(p->n_copies == 0, p->copy_bytes == 0);
    if (p->is_streaming) {
        assert_int_equal(p->cache_bytes % (2 * MIB), 0);
        assert_true(p->cache_bytes >= (in->hp->n_experts_used + 2) * p->slot_bytes_max);
        assert_true(p->cache_bytes <= p->cache_all_bytes);
        assert_true(p->min_bytes <= p->ram_bytes);
    } else {
        assert_int_equal(p->cache_bytes, 0);
        assert_true(p->resident_bytes <= p->ram_bytes);
    }
}

static struct sl_plan good(const struct sl_plan_in *in)
{
    struct sl_diag diag = { "" };
    struct sl_plan p;

    if (sl_plan_make(&p, in, &diag) < 0)
        fail_msg("%s", diag.text);
    check_plan(&p, in);
    return p;
}

/* The number at the end of the refusal, in bytes. */
static uint64_t refused(const struct sl_plan_in *in)
{
    struct sl_diag diag = { "" };
    struct sl_plan p;
    unsigned long long n = 0;
    const char *at;
    char unit = 0;

    assert_int_equal(sl_plan_make(&p, in, &diag), -ENOMEM);
    at = strstr(diag.text, "; smallest that works: --ram ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "; smallest that works: --ram %llu%c", &n, &unit), 2);
    assert_int_equal(unit, 'M');
    assert_int_equal(at[strlen(at) - 1], 'M');
    return n * MIB;
}

static void the_24b_streams_in_8_gib(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan p;

    in.ram_bytes = 8 * GIB;
    in.session = (struct sluice_session_opts){ .n_ctx = 4096, .n_seq_max = 1 };
    p = good(&in);
    assert_true(p.is_streaming);
    assert_int_equal(p.ram_bytes, 8 * GIB);
    /* known of the model: 13.9 GB of experts in slots of 5.3 and 6.1 MB, 0.57 GB shared */
    assert_in_range(p.expert_bytes, 13500 * 1000000ull, 14000 * 1000000ull);
    assert_in_range(p.shared_bytes, 540 * 1000000ull, 600 * 1000000ull);
    assert_in_range(p.slot_bytes_max, 6119424, 6119424 + 6 * 4096);
    assert_in_range(p.cache_bytes, 6900 * MIB, 7400 * MIB);
    assert_in_range(p.session.n_chunk, 256, 2048);
    assert_int_equal(p.session.n_ctx, 4096);
    assert_true(p.scratch_bytes <= 8 * GIB / 32);
}

static void a_budget_that_holds_all_is_resident(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan p;
    uint64_t resident;

    in.ram_bytes = 20 * GIB;
    p = good(&in);
    assert_false(p.is_streaming);
    assert_int_equal(p.session.n_ctx, 32768);
    assert_int_equal(p.session.n_chunk, 512);
    resident = p.resident_bytes;
    assert_in_range(resident, 13900 * MIB, 14300 * MIB);
    in.ram_bytes = resident; /* a shorter context is better than streaming */
    p = good(&in);
    assert_false(p.is_streaming);
    assert_int_equal(p.session.n_ctx, 8192);
    assert_int_equal(p.resident_bytes, resident);
    in.ram_bytes = resident - 1;
    p = good(&in);
    assert_true(p.is_streaming);
    in.residency = SLUICE_RESIDENCY_RESIDENT;
    assert_int_equal(refused(&in), resident);
    in.ram_bytes = 64 * GIB;
    in.residency = SLUICE_RESIDENCY_STREAM;
    p = good(&in);
    assert_true(p.is_streaming);
    assert_int_equal(p.cache_bytes, p.cache_all_bytes);
}

static void auto_leaves_a_headroom(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan p;

    p = good(&in);
    assert_false(p.is_streaming);
    in.available_bytes = 10 * GIB;
    p = good(&in);
    assert_true(p.is_streaming);
    assert_int_equal(p.session.n_ctx, SL_PLAN_CTX_STREAMING);
    assert_int_equal(p.ram_bytes, 10 * GIB - 512 * MIB);
    in.available_bytes = p.resident_bytes; /* fits, but nothing would be left */
    p = good(&in);
    assert_true(p.is_streaming);
    in.residency = SLUICE_RESIDENCY_RESIDENT;
    p = good(&in);
    assert_false(p.is_streaming);
    assert_int_equal(sl_plan_headroom(32 * GIB), 32 * GIB / 20);
    assert_int_equal(sl_plan_headroom(GIB), 256 * MIB);
}

static void the_smallest_works_and_less_is_refused(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan min, p;

    in.ram_bytes = SLUICE_RAM_MIN;
    min = good(&in);
    assert_true(min.is_streaming);
    assert_int_equal(min.ram_bytes, min.min_bytes);
    assert_int_equal(min.ram_bytes % MIB, 0);
    assert_in_range(min.ram_bytes, 700 * MIB, 1000 * MIB);
    assert_int_equal(min.session.n_chunk, 32);
    in.ram_bytes = min.ram_bytes;
    p = good(&in);
    assert_true(p.is_streaming);
    assert_false(p.is_lowered);
    assert_memory_equal(&p.session, &min.session, sizeof(p.session));
    assert_int_equal(p.ram_bytes, min.ram_bytes);
    assert_int_equal(p.cache_bytes, min.cache_bytes);
    assert_int_equal(p.kv_bytes + p.scratch_bytes, min.kv_bytes + min.scratch_bytes);
    assert_int_equal(p.overhead_bytes, min.overhead_bytes);
    in.ram_bytes = min.ram_bytes - 1;
    assert_int_equal(refused(&in), min.ram_bytes);
    in.ram_bytes = 2 * MIB;
    assert_int_equal(refused(&in), min.ram_bytes);
    in.session.n_ctx = 65536; /* more context, more memory */
    assert_true(refused(&in) > min.ram_bytes + 900 * MIB);
}

static void what_the_system_lacks_lowers_the_bound(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan p;

    in.ram_bytes = 8 * GIB;
    in.available_bytes = 8 * GIB - 20 * MIB; /* a part of it is ours already */
    p = good(&in);
    assert_false(p.is_lowered);
    assert_int_equal(p.ram_bytes, 8 * GIB);
    in.available_bytes = 6 * GIB;
    p = good(&in);
    assert_true(p.is_lowered);
    assert_int_equal(p.ram_bytes, 6 * GIB - 512 * MIB);
    in.available_bytes = 300 * MIB;
    assert_int_equal(refused(&in), p.min_bytes);
    in.ram_bytes = SLUICE_RAM_MIN;
    assert_int_equal(refused(&in), p.min_bytes);
    in.ram_bytes = 0;
    assert_int_equal(refused(&in), p.min_bytes);
    in.available_bytes = UINT64_MAX; /* unknown */
    assert_false(good(&in).is_streaming);
    in.residency = SLUICE_RESIDENCY_STREAM;
    p = good(&in);
    assert_int_equal(p.cache_bytes, p.cache_all_bytes);
}

static void explicit_options_are_kept(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_diag diag;
    struct sl_plan p;

    in.ram_bytes = 4 * GIB;
    in.session = (struct sluice_session_opts){ .n_ctx = 1000, .n_seq_max = 3, .n_chunk = 700,
                                               .n_logits = 650, .kv = SLUICE_KV_F32 };
    p = good(&in);
    assert_memory_equal(&p.session, &in.session, sizeof(p.session));
    in.session.n_chunk = 0; /* as long as the rows of logits need */
    in.session.n_logits = 100;
    in.ram_bytes = SLUICE_RAM_MIN;
    p = good(&in);
    assert_int_equal(p.session.n_chunk, 100);
    in.session.n_ctx = 10;
    in.session.n_logits = 0;
    p = good(&in);
    assert_int_equal(p.session.n_chunk, 10);
    in.session.n_ctx = 1u << 20;
    assert_int_equal(sl_plan_make(&p, &in, &diag), -ERANGE);
}

static void wider_alignment_takes_wider_slots(void **state)
{
    struct sl_plan_in in = in_for(*state);
    struct sl_plan p, wide;

    in.ram_bytes = SLUICE_RAM_MIN;
    p = good(&in);
    in.alignment = 65536;
    wide = good(&in);
    assert_true(wide.slot_bytes_max > p.slot_bytes_max + 100000);
    assert_true(wide.min_bytes > p.min_bytes);
}

static void a_dense_model_cannot_stream(void **state)
{
    const struct model *m = *state;
    struct sl_plan_in in = in_for(m);
    struct sl_hparams hp = m->hp;
    struct sl_diag diag = { "" };
    struct sl_plan p;

    hp.is_moe = false;
    hp.n_dense = hp.n_layers;
    hp.n_experts = hp.n_experts_used = 0;
    in.hp = &hp;
    in.weight_bytes = 2 * GIB;
    in.residency = SLUICE_RESIDENCY_STREAM;
    assert_int_equal(sl_plan_make(&p, &in, &diag), -ENOTSUP);
    assert_non_null(strstr(diag.text, "no experts"));
    in.residency = SLUICE_RESIDENCY_AUTO;
    in.ram_bytes = GIB;
    in.ram_bytes = refused(&in);
    assert_in_range(in.ram_bytes, 2 * GIB, 3 * GIB);
    p = good(&in);
    assert_false(p.is_streaming);
    assert_int_equal(p.min_bytes, 0);
    in.ram_bytes = SLUICE_RAM_MIN;
    p = good(&in);
    assert_int_equal(p.ram_bytes, p.resident_bytes);
    in.ram_bytes = 0;
    in.available_bytes = p.resident_bytes; /* no headroom where there is no choice */
    p = good(&in);
}

/* But for copies and what they cost a plan is that of a machine with one node. */
static struct sl_plan good_on_nodes(const struct sl_plan_in *in, uint32_t n_nodes)
{
    struct sl_plan_in with = *in;
    struct sl_plan one, p;

    with.n_nodes = 1;
    one = good(&with);
    with.n_nodes = n_nodes;
    p = good(&with);
    assert_int_equal(one.n_copies, 0);
    assert_int_equal(p.is_streaming, one.is_streaming);
    assert_memory_equal(&p.session, &one.session, sizeof(p.session));
    assert_int_equal(p.cache_bytes, one.cache_bytes);
    assert_int_equal(p.min_bytes, one.min_bytes);
    assert_int_equal(p.resident_bytes, one.resident_bytes);
    assert_int_equal(p.overhead_bytes, one.overhead_bytes + p.copy_bytes / 256);
    return p;
}

static void copies_for_nodes_take_what_is_left_over(void **state)
{
    const struct model *m = *state;
    struct sl_plan_in in = in_for(m);
    uint64_t copy = sl_nodecopy_bytes(&m->weights, &m->hp);
    uint64_t resident;
    struct sl_plan p;

    assert_in_range(copy, 540 * MIB, 570 * MIB); /* 0.57 GB shared, the embedding's one use */
    p = good_on_nodes(&in, 2);
    assert_int_equal(p.n_copies, 2);
    assert_int_equal(p.copy_bytes, 2 * copy);
    assert_int_equal(good_on_nodes(&in, 8).copy_bytes, 8 * copy);
    assert_int_equal(good_on_nodes(&in, 100).n_copies, 0); /* they would not fit */

    /* the last byte counts, and nothing else gives way */
    in.residency = SLUICE_RESIDENCY_RESIDENT;
    in.session.n_ctx = 8192;
    resident = p.resident_bytes;
    in.ram_bytes = resident + 2 * (copy + copy / 256);
    assert_int_equal(good_on_nodes(&in, 2).n_copies, 2);
    in.ram_bytes--;
    assert_int_equal(good_on_nodes(&in, 2).n_copies, 0);
    in.ram_bytes = SLUICE_RAM_MIN;
    assert_int_equal(good_on_nodes(&in, 2).n_copies, 0);
    in.ram_bytes = 0; /* without a choice weights leave no headroom, copies do */
    in.available_bytes = resident + sl_plan_headroom(resident);
    assert_int_equal(good_on_nodes(&in, 2).n_copies, 0);

    in = in_for(m);
    in.residency = SLUICE_RESIDENCY_STREAM;
    in.ram_bytes = 8 * GIB; /* experts need it more */
    assert_int_equal(good_on_nodes(&in, 2).n_copies, 0);
    in.ram_bytes = 20 * GIB;
    p = good_on_nodes(&in, 2);
    assert_int_equal(p.cache_bytes, p.cache_all_bytes);
    assert_int_equal(p.copy_bytes, copy); /* the first node has the weights themselves */
    in.is_pack = true;
    assert_int_equal(good_on_nodes(&in, 2).copy_bytes, 2 * copy);
}

static uint32_t draw(unsigned int *seed, uint32_t min, uint32_t max)
{
    return min + (uint32_t)rand_r(seed) % (max - min + 1);
}

/* An expert model that is nobody's. */
static void make_shape(struct model *m, unsigned int *seed)
{
    uint32_t type = draw(seed, 0, 1) ? SL_DTYPE_Q4_K : SL_DTYPE_BF16;

    *m = (struct model){ .hp = { .is_moe = true } };
    m->hp.n_layers = draw(seed, 2, 30);
    m->hp.n_dense = draw(seed, 0, m->hp.n_layers - 1);
    m->hp.width = 256 * draw(seed, 1, 16);
    m->hp.n_ctx_train = draw(seed, 1, 200000);
    m->hp.n_heads = draw(seed, 1, 32);
    m->hp.head_dim = 32 * draw(seed, 1, 4);
    m->hp.n_taps = 3;
    m->hp.n_experts = draw(seed, 1, 200);
    m->hp.n_experts_used = draw(seed, 1, m->hp.n_experts < 8 ? m->hp.n_experts : 8);
    m->weights.layers = calloc(m->hp.n_layers, sizeof(*m->weights.layers));
    assert_non_null(m->weights.layers);
    m->weights.n_vocab = draw(seed, 100, 70000);
    m->weights.ff_max = 256;
    m->weights.output = (struct sl_tensor){ .dtype = SL_DTYPE_F32, .n_cols = m->hp.width,
                                            .n_rows = m->weights.n_vocab, .n_mats = 1,
                                            .row_bytes = sizeof(float) * m->hp.width };
    m->bytes = (uint64_t)draw(seed, 1, 1000) * MIB;
    for (uint32_t i = 0; i < m->hp.n_layers; i++) {
        struct sl_layer *l = &m->weights.layers[i];
        uint32_t ff = 256 * draw(seed, 1, 8);
        uint32_t n_mats = i < m->hp.n_dense ? 1 : m->hp.n_experts;

        m->hp.n_heads_kv[i] = i % 3 == 1;
        l->gate = l->up = (struct sl_tensor){ .dtype = (enum sl_dtype)type, .n_cols = m->hp.width,
                                              .n_rows = ff, .n_mats = n_mats };
        l->gate.row_bytes = l->up.row_bytes = sl_dtype_row_bytes((enum sl_dtype)type,
                                                                 m->hp.width);
        l->down = (struct sl_tensor){ .dtype = SL_DTYPE_Q6_K, .n_cols = ff, .n_mats = n_mats,
                                      .n_rows = m->hp.width,
                                      .row_bytes = sl_dtype_row_bytes(SL_DTYPE_Q6_K, ff) };
        if (i >= m->hp.n_dense) {
            m->bytes += n_mats * (2 * sl_tensor_mat_bytes(&l->gate) +
                                  sl_tensor_mat_bytes(&l->down));
            if (ff > m->weights.expert_ff_max)
                m->weights.expert_ff_max = ff;
        }
    }
}

/* From the smallest bound up: everything works, and more memory never makes the context
 * shorter nor the number of experts in memory much smaller (by a longer chunk). */
static void check_shape(const struct model *m, unsigned int *seed)
{
    struct sl_plan_in in = in_for(m);
    struct sl_plan p, before;

    in.available_bytes = UINT64_MAX;
    in.residency = draw(seed, 0, 1) ? SLUICE_RESIDENCY_STREAM : SLUICE_RESIDENCY_AUTO;
    in.session.n_seq_max = draw(seed, 0, 5);
    in.n_nodes = draw(seed, 0, 4);
    in.is_pack = draw(seed, 0, 1);
    in.ram_bytes = SLUICE_RAM_MIN;
    before = good(&in);
    in.ram_bytes = before.ram_bytes - 1;
    assert_int_equal(refused(&in), before.ram_bytes);
    for (in.ram_bytes = before.ram_bytes; in.ram_bytes < before.resident_bytes;
         in.ram_bytes += in.ram_bytes / 16 + draw(seed, 0, 9 * 1000000)) {
        p = good(&in);
        if (p.is_streaming && before.is_streaming) {
            assert_true(p.session.n_ctx >= before.session.n_ctx);
            assert_true(p.cache_bytes + in.ram_bytes / 32 + 2 * MIB >= before.cache_bytes);
        }
        before = p;
    }
    in.residency = SLUICE_RESIDENCY_AUTO;
    in.ram_bytes = before.resident_bytes;
    assert_false(good(&in).is_streaming);
}

static void random_shapes_hold_the_promises(void **state)
{
    const char *text = getenv("SL_SEED");
    unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 10) : (unsigned int)time(NULL);

    (void)state;
    print_message("SL_SEED=%u\n", seed);
    for (int i = 0; i < 200; i++) {
        struct model m;

        make_shape(&m, &seed);
        check_shape(&m, &seed);
        free(m.weights.layers);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_24b_streams_in_8_gib),
        cmocka_unit_test(a_budget_that_holds_all_is_resident),
        cmocka_unit_test(auto_leaves_a_headroom),
        cmocka_unit_test(the_smallest_works_and_less_is_refused),
        cmocka_unit_test(what_the_system_lacks_lowers_the_bound),
        cmocka_unit_test(explicit_options_are_kept),
        cmocka_unit_test(wider_alignment_takes_wider_slots),
        cmocka_unit_test(a_dense_model_cannot_stream),
        cmocka_unit_test(copies_for_nodes_take_what_is_left_over),
        cmocka_unit_test(random_shapes_hold_the_promises),
    };

    if (argc < 2) {
        fprintf(stderr, "usage: test_plan HEADER.gguf\n");
        return 2;
    }
    header_path = argv[1];
    return cmocka_run_group_tests(tests, open_model, close_model);
}
