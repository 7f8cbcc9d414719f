/*
 * What sluice_model_get_experts shows is what the routers chose and what the cache holds, and
 * another thread may look all the time while tokens are computed.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common.h"

#define N_MOE 4u
#define N_EXPERTS 16u
#define N_VIEWS (N_MOE * N_EXPERTS)
#define FIRST_MOE 2u
#define HALF_TOK 64.0
#define N_SINGLE 100u

struct account { /* what should be seen */
    double share[N_MOE][N_EXPERTS];
    uint32_t counts[N_MOE][N_EXPERTS]; /* of the step at hand */
};

struct watcher {
    const struct sluice_model *model;
    atomic_bool is_over;
    uint64_t n_looks, n_seen[SLUICE_EXPERT_AHEAD + 1];
};

static struct sluice_model *open_demo(uint64_t ram_bytes)
{
    const struct sluice_model_opts opts = { .n_threads = 2, .cpu = common_cpu(),
                                            .ram_bytes = ram_bytes };
    struct sluice_error error = { "" };
    struct sluice_model *model;

    CHECK(sluice_model_open(&model, SOURCE_ROOT "/models/demo.gguf", &opts, &error) == 0, "%s",
          error.text);
    return model;
}

static void count_route(void *arg, int seq, int64_t pos, uint32_t layer, const uint32_t *experts,
                        const float *weights, uint32_t n_used, float margin)
{
    struct account *a = arg;

    for (uint32_t i = 0; i < n_used; i++)
        a->counts[layer - FIRST_MOE][experts[i]]++;
}

static void step(struct sluice_session *session, int seq, struct account *a, uint32_t n_tok)
{
    int32_t tokens[64];
    const struct sluice_batch batch = { .seq = seq, .n_tokens = n_tok, .tokens = tokens };
    double left = exp2(-(double)n_tok / HALF_TOK);
    int64_t n_before = sluice_seq_tokens(session, seq, NULL);

    for (uint32_t i = 0; i < n_tok; i++)
        tokens[i] = (int32_t)(300 + (n_before + i) * 37 % 3000);
    CHECK(sluice_decode(session, &batch, 1, NULL) == 0, "%s", sluice_session_error(session));
    for (uint32_t i = 0; i < N_MOE; i++)
        for (uint32_t e = 0; e < N_EXPERTS; e++) {
            a->share[i][e] = a->share[i][e] * left + a->counts[i][e] * (1 - left) / n_tok;
            a->counts[i][e] = 0;
        }
}

static void *watch(void *arg)
{
    struct sluice_expert views[N_VIEWS];
    struct watcher *w = arg;

    while (!atomic_load(&w->is_over)) {
        CHECK(sluice_model_get_experts(w->model, views, N_VIEWS) == N_VIEWS, "number of experts");
        for (uint32_t i = 0; i < N_VIEWS; i++) {
            CHECK(views[i].state <= SLUICE_EXPERT_AHEAD, "state %u", views[i].state);
            w->n_seen[views[i].state]++;
        }
        w->n_looks++;
    }
    return NULL;
}

static void check_views(const struct sluice_model *model, const struct account *a, bool is_all,
                        uint64_t n_ready)
{
    struct sluice_expert views[N_VIEWS];
    uint64_t n_memory = 0;

    CHECK(sluice_model_get_experts(model, views, N_VIEWS) == N_VIEWS, "number of experts");
    for (uint32_t i = 0; i < N_VIEWS; i++) {
        double share = a->share[i / N_EXPERTS][i % N_EXPERTS] * 255;

        CHECK(fabs(views[i].share - share) < 1, "expert %u: share %u, expected %.2f", i,
              views[i].share, share);
        CHECK(!is_all || views[i].state == SLUICE_EXPERT_MEMORY, "expert %u: state %u", i,
              views[i].state);
        CHECK(views[i].state != SLUICE_EXPERT_PINNED && views[i].state != SLUICE_EXPERT_READING,
              "expert %u is in use without a step", i);
        n_memory += views[i].state == SLUICE_EXPERT_MEMORY;
    }
    CHECK(is_all || n_memory == n_ready, "%llu in memory, the cache says %llu",
          (unsigned long long)n_memory, (unsigned long long)n_ready);
}

/* Single tokens, then a prompt, while another thread looks. */
static void run(uint64_t ram_bytes)
{
    const struct sluice_session_opts opts = { .n_ctx = 512, .n_chunk = 64 };
    struct sluice_model *model = open_demo(ram_bytes);
    struct sluice_session *session = common_session(model, &opts);
    struct watcher w = { .model = model };
    struct account a = { 0 };
    struct sluice_expert one;
    struct sluice_counters counters;
    struct sluice_model_info info;
    pthread_t thread;
    int seq = sluice_seq_new(session);

    sluice_model_get_info(model, &info);
    CHECK(info.n_moe_layers == N_MOE && info.n_experts == N_EXPERTS, "another demo model");
    CHECK(sluice_model_get_experts(model, NULL, 0) == N_VIEWS, "number without room");
    CHECK(sluice_model_get_experts(model, &one, 1) == N_VIEWS && one.share == 0, "the first");
    sluice_session_set_route_fn(session, count_route, &a);
    CHECK(pthread_create(&thread, NULL, watch, &w) == 0, "thread");
    for (uint32_t i = 0; i < N_SINGLE; i++)
        step(session, seq, &a, 1);
    step(session, seq, &a, 64);
    step(session, seq, &a, 1);
    atomic_store(&w.is_over, true);
    CHECK(pthread_join(thread, NULL) == 0, "join");
    sluice_session_get_counters(session, &counters);
    check_views(model, &a, !info.is_streaming, counters.experts.n_ready);
    printf("%s: %llu looks; disk %llu memory %llu pinned %llu reading %llu ahead %llu\n",
           info.is_streaming ? "streaming" : "resident", (unsigned long long)w.n_looks,
           (unsigned long long)w.n_seen[0], (unsigned long long)w.n_seen[1],
           (unsigned long long)w.n_seen[2], (unsigned long long)w.n_seen[3],
           (unsigned long long)w.n_seen[4]);
    CHECK(w.n_looks > 0 && w.n_seen[SLUICE_EXPERT_MEMORY] > 0, "nothing was seen");
    CHECK(info.is_streaming ? w.n_seen[SLUICE_EXPERT_DISK] > 0
                            : w.n_seen[SLUICE_EXPERT_MEMORY] == w.n_looks * N_VIEWS,
          "not where the memory is");
    sluice_session_free(session);
    sluice_model_close(model);
}

int main(void)
{
    run(0);
    run(SLUICE_RAM_MIN);
    return 0;
}
