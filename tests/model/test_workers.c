/*
 * Which CPUs compute changes no bit of the logits; CPUs that cannot be had are named; and
 * what is loaded is spread over the nodes of a machine that has several, unless it is told
 * not to be. Workers that cannot be bound are noted. The second node is made up, and so is
 * the system's refusal: sl_topology_open and pthread_setaffinity_np are wrapped.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "model/engine.h"
#include "model/workers.h"

#define N_TOK 80u
#define MODEL "models/random-moe-f32.gguf"

static uint32_t n_nodes; /* that the next topology has; 0: as many as there are */

int __real_sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag);
int __wrap_sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag);

int __wrap_sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag)
{
    int r = __real_sl_topology_open(ret_topo, diag);

    if (r == 0 && n_nodes)
        (*ret_topo)->memory = (struct sl_topology_nodes){ .bits = { (1u << n_nodes) - 1 },
                                                          .n = n_nodes };
    return r;
}

static bool is_binding_refused;

int __real_pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set);
int __wrap_pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set);

int __wrap_pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set)
{
    return is_binding_refused ? EPERM : __real_pthread_setaffinity_np(thread, bytes, set);
}

static void compute(struct sluice_model *model, float *rows)
{
    struct sluice_session_opts opts = { .n_ctx = 256, .n_seq_max = 1, .n_logits = 16,
                                        .n_chunk = 16 };
    struct sluice_session *session = common_session(model, &opts);
    struct sluice_model_info info;
    int32_t tokens[N_TOK];

    sluice_model_get_info(model, &info);
    for (uint32_t i = 0; i < N_TOK; i++)
        tokens[i] = (int32_t)((i * 7919 + 13) % info.n_vocab);
    memset(rows, 0xFF, sizeof(float) * N_TOK * info.n_vocab);
    common_feed(session, sluice_seq_new(session), tokens, N_TOK, 16, info.n_vocab, rows);
    sluice_session_free(session);
}

/* A CPU that this process may use, and one that no machine has. */
static int32_t allowed_cpu(void)
{
    cpu_set_t set;

    CHECK(sched_getaffinity(0, sizeof(set), &set) == 0, "affinity");
    for (int32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            return cpu;
    return 0;
}

static void check_bits(void)
{
    int32_t here = allowed_cpu();
    const int32_t placements[][4] = { { here, -1 }, { -1 }, { here }, { -1, -1, here, -1 } };
    const uint32_t n[] = { 2, 1, 1, 4 };
    struct sluice_model *model = common_open(MODEL, 1, common_cpu());
    struct sluice_model_info info;
    struct sl_diag diag;
    float *want, *got;
    size_t bytes;

    sluice_model_get_info(model, &info);
    bytes = sizeof(float) * N_TOK * info.n_vocab;
    want = malloc(bytes);
    got = malloc(bytes);
    CHECK(want && got, "no memory");
    compute(model, want);
    for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
        CHECK(sl_workers_replace(model, placements[i], n[i], &diag) == 0, "%s", diag.text);
        sluice_model_get_info(model, &info);
        CHECK(info.n_threads == n[i] && sl_pool_n_workers(model->pool) == n[i], "workers");
        CHECK(memcmp(info.thread_cpus, placements[i], n[i] * sizeof(int32_t)) == 0, "CPUs");
        compute(model, got);
        CHECK(memcmp(got, want, bytes) == 0, "logits differ with placement %zu", i);
    }
    CHECK(sl_workers_replace(model, (const int32_t[]){ -1, 4095 }, 2, &diag) == -ERANGE, "4095");
    CHECK(strstr(diag.text, "CPU 4095"), "%s", diag.text);
    CHECK(sl_pool_n_workers(model->pool) == 4, "the workers before are gone");
    compute(model, got);
    CHECK(memcmp(got, want, bytes) == 0, "logits differ after a refusal");
    free(want);
    free(got);
    sluice_model_close(model);
}

static void check_opening(void)
{
    const int32_t cpus[] = { allowed_cpu(), 4095 };
    struct sluice_model_opts opts = { .n_threads = 1, .cpus = cpus, .threads_why = "because",
                                      .cpu = common_cpu() };
    struct sluice_model *model = NULL;
    struct sluice_model_info info;
    struct sluice_error error;
    char path[4096];

    snprintf(path, sizeof(path), "%s", common_data(MODEL));
    CHECK(sluice_model_open(&model, path, &opts, &error) == 0, "%s", error.text);
    sluice_model_get_info(model, &info);
    CHECK(info.n_threads == 1 && info.thread_cpus[0] == cpus[0], "not on the CPU asked for");
    CHECK(strcmp(info.threads_why, "because") == 0, "why: %s", info.threads_why);
    sluice_model_close(model);
    model = NULL;

    opts.n_threads = 2;
    CHECK(sluice_model_open(&model, path, &opts, &error) == -ERANGE, "CPU 4095");
    CHECK(strstr(error.text, "CPU 4095 is not there"), "%s", error.text);
    opts.n_threads = 0;
    CHECK(sluice_model_open(&model, path, &opts, &error) == -EINVAL, "how many");
    opts = (struct sluice_model_opts){ .numa = (enum sluice_numa)2 };
    CHECK(sluice_model_open(&model, path, &opts, &error) == -EINVAL, "numa");
    CHECK(!model, "the model was set on failure");

    opts = (struct sluice_model_opts){ .n_threads = 1 };
    CHECK(sluice_model_open(&model, path, &opts, &error) == 0, "%s", error.text);
    sluice_model_get_info(model, &info);
    CHECK(strstr(info.threads_why, "asked for"), "why: %s", info.threads_why);
    sluice_model_close(model);
}

static void check_binding(void)
{
    const int32_t cpus[] = { -1, allowed_cpu() };
    struct sluice_model_opts opts = { .n_threads = 2, .cpus = cpus, .cpu = common_cpu() };

    for (int i = 0; i < 2; i++) {
        struct sluice_model *model;
        struct sluice_model_info info;
        struct sluice_error error;

        is_binding_refused = i == 1;
        CHECK(sluice_model_open(&model, common_data(MODEL), &opts, &error) == 0, "%s", error.text);
        is_binding_refused = false;
        sluice_model_get_info(model, &info);
        CHECK(!strstr(info.notes, "1 threads cannot be bound") == (i == 0), "%d: notes \"%s\"", i,
              info.notes);
        sluice_model_close(model);
    }
}

/* Of the calling thread; -1: the system does not tell. */
static int policy(void)
{
    int mode;

    return syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) == 0 ? mode : -1;
}

static int note_policy(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    *(int *)arg = policy();
    return 0;
}

static void check_spreading(void)
{
    static const struct {
        uint32_t n_nodes;
        enum sluice_numa numa;
        int want;
    } cases[] = {
        { 2, SLUICE_NUMA_SPLIT, MPOL_INTERLEAVE },
        { 2, SLUICE_NUMA_OFF, MPOL_DEFAULT },
        { 1, SLUICE_NUMA_SPLIT, MPOL_DEFAULT },
    };
    char path[4096];

    if (policy() != MPOL_DEFAULT) {
        printf("spreading: skipped, there is a policy already, or none is told\n");
        return;
    }
    snprintf(path, sizeof(path), "%s", common_data(MODEL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int meanwhile = -2;
        struct sluice_model_opts opts = { .residency = SLUICE_RESIDENCY_STREAM,
                                          .numa = cases[i].numa, .progress = note_policy,
                                          .progress_arg = &meanwhile, .cpu = common_cpu() };
        struct sluice_model *model;
        struct sluice_model_info info;
        struct sluice_error error;
        bool is_refused;

        n_nodes = cases[i].n_nodes;
        CHECK(sluice_model_open(&model, path, &opts, &error) == 0, "%s", error.text);
        n_nodes = 0;
        sluice_model_get_info(model, &info);
        is_refused = strstr(info.notes, "cannot be spread") != NULL;
        CHECK(is_refused || meanwhile == cases[i].want, "case %zu: policy %d while loading", i,
              meanwhile);
        CHECK(is_refused || info.n_spread_nodes == (cases[i].want == MPOL_INTERLEAVE ? 2 : 0),
              "case %zu: spread over %u nodes", i, info.n_spread_nodes);
        CHECK(policy() == MPOL_DEFAULT, "case %zu: the policy was not put back", i);
        sluice_model_close(model);
    }
}

int main(void)
{
    check_opening();
    check_bits();
    check_binding();
    check_spreading();
    return 0;
}
