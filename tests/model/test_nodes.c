/*
 * Machines with more than one NUMA node: with a copy of the shared weights on each, or one
 * for all because the system refuses or memory does not allow it, or memory left to the
 * system, resident and streaming, for any number of threads, logits are the same bits. That
 * copies are read is seen by spoiling one.
 *
 * The nodes are made up: sl_nodeplan_make and sl_topology_prefer are wrapped. Copies then lie
 * wherever the system puts them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "model/engine.h"
#include "model/workers.h"

#define N_TOK 24u
#define N_MANY 16u /* of these in one step, the rest one by one */
#define MODEL "models/random-moe-f32.gguf"

static uint32_t n_nodes;       /* that workers are on, in turn; 0 or 1: as it is */
static int32_t refused_node;   /* whose memory cannot be had; -1: none */
static uint32_t n_placed;      /* times that memory was put on a node */
static uint64_t placed_bytes;

int __real_sl_nodeplan_make(struct sl_nodeplan *ret_plan, const struct sl_topology *topo,
                            const struct sl_placement *placement,
                            const struct sl_topology_nodes *memory);
int __wrap_sl_nodeplan_make(struct sl_nodeplan *ret_plan, const struct sl_topology *topo,
                            const struct sl_placement *placement,
                            const struct sl_topology_nodes *memory);
int __wrap_sl_topology_prefer(int32_t node_id, void *base, uint64_t bytes);

int __wrap_sl_nodeplan_make(struct sl_nodeplan *ret_plan, const struct sl_topology *topo,
                            const struct sl_placement *placement,
                            const struct sl_topology_nodes *memory)
{
    int r = __real_sl_nodeplan_make(ret_plan, topo, placement, memory);
    uint32_t n = n_nodes < placement->n_threads ? n_nodes : placement->n_threads;

    if (r < 0 || n < 2)
        return r;
    ret_plan->n = n;
    for (uint32_t i = 0; i < placement->n_threads; i++) {
        ret_plan->groups[i] = i % n;
        ret_plan->ids[i % n] = (int32_t)(i % n) + 10;
    }
    return 0;
}

int __wrap_sl_topology_prefer(int32_t node_id, void *base, uint64_t bytes)
{
    CHECK((uintptr_t)base % 4096 == 0 && bytes % 4096 == 0, "not in pages");
    if (node_id == refused_node)
        return -EPERM;
    n_placed++;
    placed_bytes += bytes;
    return 0;
}

static int try_open(struct sluice_model **ret_model, const struct sluice_model_opts *opts,
                    struct sluice_model_info *ret_info)
{
    struct sluice_model_opts with = *opts;
    struct sluice_error error = { "" };
    int r;

    with.cpu = common_cpu();
    n_placed = 0;
    placed_bytes = 0;
    r = sluice_model_open(ret_model, common_data(MODEL), &with, &error);
    CHECK(r == 0, "%s", error.text);
    sluice_model_get_info(*ret_model, ret_info);
    return r;
}

/* Logits of all tokens; heap. */
static float *compute(struct sluice_model *model, uint64_t *ret_bytes)
{
    struct sluice_session_opts opts = { .n_ctx = 256, .n_seq_max = 1, .n_logits = 16,
                                        .n_chunk = 16 };
    struct sluice_session *session = common_session(model, &opts);
    int seq = sluice_seq_new(session);
    struct sluice_model_info info;
    int32_t tokens[N_TOK];
    float *rows;

    sluice_model_get_info(model, &info);
    for (uint32_t i = 0; i < N_TOK; i++)
        tokens[i] = (int32_t)((i * 7919 + 13) % info.n_vocab);
    *ret_bytes = sizeof(float) * N_TOK * info.n_vocab;
    rows = malloc(*ret_bytes);
    CHECK(rows, "no memory");
    common_feed(session, seq, tokens, N_MANY, N_MANY, info.n_vocab, rows);
    common_feed(session, seq, tokens + N_MANY, N_TOK - N_MANY, 1, info.n_vocab,
                rows + (size_t)N_MANY * info.n_vocab);
    sluice_session_free(session);
    return rows;
}

static bool is_equal(struct sluice_model *model, const float *want)
{
    uint64_t bytes;
    float *got = compute(model, &bytes);
    bool r = memcmp(got, want, bytes) == 0;

    free(got);
    return r;
}

static void check_copies(const struct sluice_model *m, uint32_t n, bool is_streaming)
{
    uint64_t bytes = sl_nodecopy_bytes(&m->weights, &m->hp);

    CHECK(m->copies.n == n && m->plan.n_copies == n, "%u copies", m->copies.n);
    CHECK(m->copies.bytes == bytes * (n - is_streaming), "bytes of copies");
    CHECK(m->copies.bytes == m->plan.copy_bytes, "not what was planned");
    CHECK(n_placed == n && placed_bytes >= m->copies.bytes, "%u regions placed", n_placed);
    CHECK(!m->copies.why[0] && !m->copies.is_refused, "why: %s", m->copies.why);
    for (uint32_t i = 0; i < sl_pool_n_workers(m->pool); i++)
        CHECK(m->copies.of_worker[i] == &m->copies.list[i % n].weights, "worker %u", i);
}

static void check_bits(const float *want)
{
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++)
        for (uint32_t nodes = 1; nodes <= 3; nodes++)
            for (int is_streaming = 0; is_streaming < 2; is_streaming++) {
                const struct sluice_model_opts opts = {
                    .n_threads = n_threads,
                    .residency = is_streaming ? SLUICE_RESIDENCY_STREAM
                                              : SLUICE_RESIDENCY_RESIDENT };
                uint32_t n = nodes < n_threads ? nodes : n_threads;
                struct sluice_model *model;
                struct sluice_model_info info;

                n_nodes = nodes;
                try_open(&model, &opts, &info);
                if (n >= 2)
                    check_copies(model, n, is_streaming);
                CHECK(info.n_node_copies == (n >= 2 ? n : 0), "%u copies", info.n_node_copies);
                CHECK(n >= 2 || (info.copy_bytes == 0 && n_placed == 0), "memory on one node");
                CHECK(is_equal(model, want), "%u threads on %u nodes, streaming %d: other logits",
                      n_threads, nodes, is_streaming);
                sluice_model_close(model);
            }
}

/* Spoil the copy of one node: its workers' share of the logits changes, but for it nothing. */
static void check_reading(const float *want)
{
    for (uint32_t node = 0; node < 2; node++) {
        const struct sluice_model_opts opts = { .n_threads = 2,
                                                .residency = SLUICE_RESIDENCY_RESIDENT };
        struct sluice_model *model;
        struct sluice_model_info info;
        struct sl_tensor *output;
        uint32_t half;
        uint64_t bytes;
        float *got;

        n_nodes = 2;
        try_open(&model, &opts, &info);
        output = &model->copies.list[node].weights.output;
        memset((void *)(uintptr_t)output->data, 0, sl_tensor_mat_bytes(output));
        got = compute(model, &bytes);
        half = (info.n_vocab + 63) / 64 * 32; /* the share of one of two workers, or a bit off */
        for (uint32_t v = 0; v < info.n_vocab; v++) {
            bool is_spoilt = got[v] == 0.0f && want[v] != 0.0f;

            if (v + 32 < half || v >= half + 32)
                CHECK(is_spoilt == ((v >= half) == (node == 1)), "node %u, row %u", node, v);
            CHECK(is_spoilt || got[v] == want[v], "node %u, row %u", node, v);
        }
        free(got);
        sluice_model_close(model);
    }
}

/* Nothing is fallen back to in silence, and nothing else changes. */
static void check_refusal(const float *want)
{
    for (int is_streaming = 0; is_streaming < 2; is_streaming++)
        for (int32_t node = 10; node < 12; node++) {
            const struct sluice_model_opts opts = {
                .n_threads = 3,
                .residency = is_streaming ? SLUICE_RESIDENCY_STREAM : SLUICE_RESIDENCY_RESIDENT };
            struct sluice_model *model;
            struct sluice_model_info info;
            char text[64];

            n_nodes = 3;
            refused_node = node;
            try_open(&model, &opts, &info);
            refused_node = -1;
            snprintf(text, sizeof(text), "memory on node %d: %s", node, strerror(EPERM));
            CHECK(strstr(info.node_copies_why, text), "why: %s", info.node_copies_why);
            CHECK(strstr(info.notes, "not copied to each NUMA node") && strstr(info.notes, text),
                  "notes: %s", info.notes);
            CHECK(info.n_node_copies == 0 && info.copy_bytes == 0 && !model->copies.of_worker &&
                  model->plan.copy_bytes == 0 && model->stream.plan.copy_bytes == 0, "copies");
            CHECK(is_equal(model, want), "node %d refused, streaming %d: other logits", node,
                  is_streaming);
            sluice_model_close(model);
        }
}

/* The system itself: no machine has a node 1023, and this one may lack the call. */
int __real_sl_topology_prefer(int32_t node_id, void *base, uint64_t bytes);

static void check_system(void)
{
    long page = sysconf(_SC_PAGESIZE);
    struct sl_region region;
    int r;

    CHECK(sl_region_map(&region, (uint64_t)page, 1) == 0, "no memory");
    r = __real_sl_topology_prefer(1023, region.base, region.bytes);
    CHECK(r == -EINVAL || r == -EPERM || r == -ENOSYS, "node 1023: %d", r);
    r = __real_sl_topology_prefer(0, region.base, region.bytes);
    printf("node 0: %d\n", r);
    CHECK(r == 0 || r == -EPERM || r == -ENOSYS, "node 0: %d", r);
    memset(region.base, 1, region.bytes);
    sl_region_unmap(&region, NULL);
}

/* Copies never take the place of experts, and --numa off has none. */
static void check_budget(const float *want)
{
    static const struct {
        uint64_t ram_bytes;
        enum sluice_numa numa;
        const char *why;
    } cases[] = {
        { SLUICE_RAM_MIN, SLUICE_NUMA_SPLIT, "experts need the memory more" },
        { 1ull << 30, SLUICE_NUMA_SPLIT, "" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct sluice_model_opts opts = {
            .n_threads = 2, .ram_bytes = cases[i].ram_bytes, .numa = cases[i].numa,
            .residency = SLUICE_RESIDENCY_STREAM };
        struct sluice_model *model;
        struct sluice_model_info info;

        n_nodes = 2;
        try_open(&model, &opts, &info);
        CHECK(strcmp(info.node_copies_why, cases[i].why) == 0, "case %zu: %s", i,
              info.node_copies_why);
        CHECK(info.n_node_copies == (cases[i].why[0] ? 0 : 2), "case %zu", i);
        CHECK(!strstr(info.notes, "NUMA"), "case %zu: %s", i, info.notes);
        CHECK(is_equal(model, want), "case %zu: other logits", i);
        sluice_model_close(model);
    }
}

/* Other workers find the copies of their nodes, or do without. */
static void check_replacing(const float *want)
{
    static const int32_t any[] = { -1, -1, -1, -1 };
    static const struct {
        uint32_t nodes, n, n_copies; /* workers, and those that read a copy */
    } cases[] = { { 2, 4, 4 }, { 0, 1, 0 }, { 3, 3, 2 }, { 0, 4, 0 }, { 2, 2, 2 } };
    const struct sluice_model_opts opts = { .n_threads = 2,
                                            .residency = SLUICE_RESIDENCY_RESIDENT };
    struct sluice_model *model;
    struct sluice_model_info info;
    struct sl_diag diag;

    n_nodes = 2;
    try_open(&model, &opts, &info);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t n = 0;

        n_nodes = cases[i].nodes;
        CHECK(sl_workers_replace(model, any, cases[i].n, &diag) == 0, "%s", diag.text);
        for (uint32_t w = 0; w < cases[i].n; w++)
            n += model->copies.of_worker[w] != &model->weights;
        CHECK(n == cases[i].n_copies, "case %zu: %u workers read a copy", i, n);
        CHECK(is_equal(model, want), "case %zu: other logits", i);
    }
    sluice_model_close(model);
}

int main(void)
{
    const struct sluice_model_opts opts = { .n_threads = 1, .numa = SLUICE_NUMA_OFF,
                                            .residency = SLUICE_RESIDENCY_RESIDENT };
    struct sluice_model *model;
    struct sluice_model_info info;
    uint64_t bytes;
    float *want;

    refused_node = -1;
    try_open(&model, &opts, &info);
    want = compute(model, &bytes);
    sluice_model_close(model);
    check_bits(want);
    check_reading(want);
    check_refusal(want);
    check_system();
    check_budget(want);
    check_replacing(want);
    free(want);
    return 0;
}
