/*
 * Rounds of ceilings and kernels, and the rows that come of them. A share is taken within
 * a round and its median over the rounds: the speed of memory and cores changes from
 * minute to minute, and only what stands side by side may be divided.
 */
#include <stdio.h>
#include <string.h>

#include "base/pool.h"
#include "bench/bn_readloop.h"
#include "bench/bn_spread.h"
#include "bench/kn.h"

enum ceiling_kind { READ_ORDINARY, READ_HUGE, READ_L2, READ_L1, DOT, TILE, FMA, N_CEILINGS };

/* A loop that computes, and how often it is called in a timing. */
struct computing {
    bn_ceiling_fn fn;
    double macs;
    uint64_t n_calls;
    struct {
        uint64_t sum;
        char apart[56];
    } workers[SL_POOL_WORKERS_MAX];
};

/* A measured ceiling of one round, in bytes or multiply-adds per second; 0: none. */
struct ceilings {
    double value[N_CEILINGS];
};

static void compute(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct computing *c = arg;

    c->workers[worker].sum += c->fn(n_calls);
}

/* The loops that a group's cases are held against; those without a function are not. */
struct gauges {
    struct bn_readloop reads[READ_L1 + 1];
    bool has_read[READ_L1 + 1];
    struct computing computings[N_CEILINGS - DOT];
};

static void init_read(const struct kn *kn, const struct kn_group *g, struct gauges *gauges,
                      enum ceiling_kind kind)
{
    enum bn_pages pages = kind == READ_ORDINARY ? BN_PAGES_ORDINARY
                          : kind == READ_HUGE   ? BN_PAGES_HUGE
                                                : kn->opts.pages;
    const struct bn_buffer *buffer = &kn->buffers[pages];
    size_t cache_bytes = kind == READ_L2   ? kn->cache_bytes[KN_L2]
                         : kind == READ_L1 ? kn->cache_bytes[KN_L1]
                                           : 0;

    bn_readloop_init(&gauges->reads[kind], g->team, buffer->base, buffer->bytes, cache_bytes,
                     g->level, kn->opts.seconds);
    gauges->has_read[kind] = true;
}

static void init_compute(const struct kn *kn, const struct kn_group *g, struct gauges *gauges,
                         enum ceiling_kind kind, bn_ceiling_fn fn, double macs)
{
    struct computing *c = &gauges->computings[kind - DOT];

    if (!fn)
        return;
    c->fn = fn;
    c->macs = macs;
    c->n_calls = bn_team_calibrate(g->team, compute, c, kn->opts.seconds);
}

/* Those that the group's cases need; all of them if there are no cases. */
static void init_gauges(const struct kn *kn, const struct kn_group *g, struct gauges *gauges)
{
    const struct bn_ceiling *c = &kn->ceilings[g->level];
    bool has_place[KN_PLACES], has_bound[KN_BOUND_FMA + 1];

    memset(gauges, 0, sizeof(*gauges));
    memset(has_place, g->n == 0, sizeof(has_place));
    memset(has_bound, g->n == 0, sizeof(has_bound));
    for (uint32_t i = 0; i < g->n; i++) {
        has_place[g->cases[i].place] = true;
        has_bound[g->cases[i].bound] = true;
    }
    if (has_place[KN_MEMORY]) {
        init_read(kn, g, gauges, READ_ORDINARY);
        init_read(kn, g, gauges, READ_HUGE);
    }
    if (has_place[KN_L2])
        init_read(kn, g, gauges, READ_L2);
    if (has_place[KN_L1])
        init_read(kn, g, gauges, READ_L1);
    if (has_bound[KN_BOUND_DOT]) {
        init_compute(kn, g, gauges, DOT, c->dot, c->dot_macs);
        init_compute(kn, g, gauges, TILE, c->tile, c->tile_macs);
    }
    if (has_bound[KN_BOUND_FMA])
        init_compute(kn, g, gauges, FMA, c->fma, c->fma_macs);
}

static void measure_ceilings(const struct kn_group *g, struct gauges *gauges,
                             struct ceilings *ret_ceilings)
{
    *ret_ceilings = (struct ceilings){ { 0 } };
    for (int kind = 0; kind <= READ_L1; kind++)
        if (gauges->has_read[kind])
            ret_ceilings->value[kind] = bn_readloop_rate(&gauges->reads[kind]);
    for (int kind = DOT; kind < N_CEILINGS; kind++) {
        struct computing *c = &gauges->computings[kind - DOT];

        if (c->fn)
            ret_ceilings->value[kind] = c->macs * (double)c->n_calls * bn_team_n(g->team) /
                                        bn_team_time(g->team, compute, c, c->n_calls);
    }
}

/* One value of every round. */
struct samples {
    double seconds[KN_ROUNDS_MAX]; /* of one call */
    double read[KN_ROUNDS_MAX], huge[KN_ROUNDS_MAX], dot[KN_ROUNDS_MAX], tile[KN_ROUNDS_MAX];
};

static void take_sample(const struct kn_group *g, const struct kn_case *c, uint32_t round,
                        double seconds, const struct ceilings *ceilings, struct samples *s)
{
    static const enum ceiling_kind reads[KN_PLACES] = { READ_ORDINARY, READ_L2, READ_L1 };
    const double *v = ceilings->value;
    double bytes = c->bytes * bn_team_n(g->team) / seconds;
    double macs = c->macs * bn_team_n(g->team) / seconds;
    double dot = c->bound == KN_BOUND_DOT ? v[DOT] : c->bound == KN_BOUND_FMA ? v[FMA] : 0;
    double tile = c->bound == KN_BOUND_DOT ? v[TILE] : 0;

    s->seconds[round] = seconds;
    s->read[round] = bytes / v[reads[c->place]];
    s->huge[round] = c->place == KN_MEMORY ? bytes / v[READ_HUGE] : 0;
    s->dot[round] = dot > 0 ? macs / dot : 0;
    s->tile[round] = tile > 0 ? macs / tile : 0;
}

static const char *const place_names[KN_PLACES] = { "memory", "L2", "L1" };

static void print_share(double share)
{
    if (share > 0)
        printf(" %5.0f", share * 100);
    else
        printf("     -");
}

static void write_f64(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_f64(w, value);
}

static void write_spread(struct sl_jsonwriter *w, const char *key, double low, double median,
                         double high)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_array(w);
    sl_jsonwriter_f64(w, low);
    sl_jsonwriter_f64(w, median);
    sl_jsonwriter_f64(w, high);
    sl_jsonwriter_end_array(w);
}

static void write_share(struct sl_jsonwriter *w, const char *key, double share)
{
    sl_jsonwriter_key(w, key);
    if (share > 0)
        sl_jsonwriter_f64(w, share);
    else
        sl_jsonwriter_null(w);
}

static void write_str(struct sl_jsonwriter *w, const char *key, const char *value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_string(w, value);
}

static void write_u64(struct sl_jsonwriter *w, const char *key, uint64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_u64(w, value);
}

static void write_row(struct kn *kn, const struct kn_group *g, const struct kn_case *c,
                      struct bn_spread call, const double shares[4])
{
    static const char *const share_names[] = { "of_read", "of_read_huge", "of_dot", "of_tile" };
    struct sl_jsonwriter *w = &kn->json;
    double bytes = c->bytes * bn_team_n(g->team) * 1e-9;
    double macs = c->macs * bn_team_n(g->team) * 1e-9;

    sl_jsonwriter_begin_object(w);
    write_str(w, "kernel", c->kernel);
    write_str(w, "path", c->path);
    write_str(w, "level", sl_cpu_level_name(g->level));
    write_str(w, "isa", c->isa);
    write_u64(w, "n_cols", c->n_cols);
    write_u64(w, "n_rows", c->n_rows);
    write_u64(w, "n_tok", c->n_tok);
    write_u64(w, "n_threads", bn_team_n(g->team));
    write_str(w, "place", place_names[c->place]);
    write_spread(w, "us", call.low * 1e6, call.median * 1e6, call.high * 1e6);
    write_spread(w, "gb_per_s", bytes / call.high, bytes / call.median, bytes / call.low);
    if (c->macs > 0)
        write_spread(w, "gmac_per_s", macs / call.high, macs / call.median, macs / call.low);
    for (int i = 0; i < 4; i++)
        write_share(w, share_names[i], shares[i]);
    sl_jsonwriter_end_object(w);
}

static void print_row(const struct kn_group *g, const struct kn_case *c, struct bn_spread call,
                      const double shares[4])
{
    double bytes = c->bytes * bn_team_n(g->team) * 1e-9;
    double macs = c->macs * bn_team_n(g->team) * 1e-9;
    char shape[32];

    (void)snprintf(shape, sizeof(shape), "%ux%u", c->n_cols, c->n_rows);
    printf("%-14s %-4s %-6s %-6s %11s %4u %3u %-6s %9.2f %7.2f %7.2f", c->kernel, c->path,
           sl_cpu_level_name(g->level), c->isa, shape, c->n_tok, bn_team_n(g->team),
           place_names[c->place], call.median * 1e6, bytes / call.median, bytes / call.low);
    if (c->macs > 0)
        printf(" %7.2f %7.2f", macs / call.median, macs / call.low);
    else
        printf("       -       -");
    for (int i = 0; i < 4; i++)
        print_share(shares[i]);
    printf("\n");
}

static void note_slow(struct kn *kn, const struct kn_group *g, const struct kn_case *c,
                      double share)
{
    if (!c->is_decode)
        return;
    kn->n_decode++;
    if (share >= KN_SLOW_SHARE)
        return;
    if (kn->n_slow < KN_SLOW_MAX)
        kn->slow[kn->n_slow] = (struct kn_slow){
            .kernel = c->kernel,
            .level = sl_cpu_level_name(g->level),
            .n_cols = c->n_cols,
            .n_rows = c->n_rows,
            .n_threads = bn_team_n(g->team),
            .share = share,
        };
    kn->n_slow++;
}

static void print_case(struct kn *kn, const struct kn_group *g, const struct kn_case *c,
                       struct samples *s)
{
    uint32_t n = kn->opts.n_rounds;
    struct bn_spread call = bn_spread_of(s->seconds, n);
    double shares[4] = { bn_spread_of(s->read, n).median, bn_spread_of(s->huge, n).median,
                         bn_spread_of(s->dot, n).median, bn_spread_of(s->tile, n).median };

    if (kn->opts.is_json)
        write_row(kn, g, c, call, shares);
    else
        print_row(g, c, call, shares);
    note_slow(kn, g, c, shares[kn->opts.pages == BN_PAGES_HUGE]);
    kn->n_rows++;
}

static void print_ceilings(struct kn *kn, const struct kn_group *g,
                           const struct ceilings rounds[KN_ROUNDS_MAX])
{
    static const struct {
        const char *name, *label, *unit;
    } kinds[N_CEILINGS] = {
        [READ_ORDINARY] = { "read_gb_per_s", "read", "GB/s" },
        [READ_HUGE] = { "read_huge_gb_per_s", "huge pages", "GB/s" },
        [READ_L2] = { "read_l2_gb_per_s", "L2", "GB/s" },
        [READ_L1] = { "read_l1_gb_per_s", "L1", "GB/s" },
        [DOT] = { "dot_gmac_per_s", "dot", "GMAC/s" },
        [TILE] = { "tile_gmac_per_s", "tile", "GMAC/s" },
        [FMA] = { "fma_gmac_per_s", "fma", "GMAC/s" },
    };
    double values[KN_ROUNDS_MAX];

    if (kn->opts.is_json) {
        sl_jsonwriter_begin_object(&kn->json);
        write_str(&kn->json, "kernel", "ceilings");
        write_str(&kn->json, "level", sl_cpu_level_name(g->level));
        write_u64(&kn->json, "n_threads", bn_team_n(g->team));
    } else {
        printf("ceilings, %s, %u thread%s:", sl_cpu_level_name(g->level), bn_team_n(g->team),
               bn_team_n(g->team) == 1 ? "" : "s");
    }
    for (int kind = 0; kind < N_CEILINGS; kind++) {
        struct bn_spread rate;

        for (uint32_t i = 0; i < kn->opts.n_rounds; i++)
            values[i] = rounds[i].value[kind] * 1e-9;
        rate = bn_spread_of(values, kn->opts.n_rounds);
        if (rate.median > 0 && kn->opts.is_json)
            write_spread(&kn->json, kinds[kind].name, rate.low, rate.median, rate.high);
        else if (rate.median > 0)
            printf(" %s %.1f (%.1f) %s,", kinds[kind].label, rate.median, rate.high,
                   kinds[kind].unit);
    }
    if (kn->opts.is_json)
        sl_jsonwriter_end_object(&kn->json);
    else
        printf(" median (best) of %u rounds\n", kn->opts.n_rounds);
}

void kn_run_group(struct kn *kn, const struct kn_group *g)
{
    static struct samples samples[KN_GROUP_MAX]; /* too large for a stack; one thread */
    static struct ceilings ceilings[KN_ROUNDS_MAX];
    static struct gauges gauges;
    uint64_t n_calls[KN_GROUP_MAX];

    init_gauges(kn, g, &gauges);
    for (uint32_t i = 0; i < g->n; i++)
        n_calls[i] = bn_team_calibrate(g->team, g->cases[i].call, g->cases[i].arg,
                                       kn->opts.seconds);
    for (uint32_t round = 0; round < kn->opts.n_rounds; round++) {
        measure_ceilings(g, &gauges, &ceilings[round]);
        for (uint32_t i = 0; i < g->n; i++) {
            double s = bn_team_time(g->team, g->cases[i].call, g->cases[i].arg, n_calls[i]);

            take_sample(g, &g->cases[i], round, s / (double)n_calls[i], &ceilings[round],
                        &samples[i]);
        }
    }
    print_ceilings(kn, g, ceilings);
    for (uint32_t i = 0; i < g->n; i++)
        print_case(kn, g, &g->cases[i], &samples[i]);
    (void)fflush(stdout); /* what failed shows at the end */
}

void kn_run_ceilings(struct kn *kn)
{
    for (int level = SL_CPU_C; level <= (int)kn->best; level++)
        for (uint32_t team = 0; team < kn->n_teams; team++) {
            const struct kn_group g = { .level = (enum sl_cpu_level)level,
                                        .team = kn->teams[team] };

            if (kn_wants_level(kn, g.level))
                kn_run_group(kn, &g);
        }
}

void kn_print_begin(struct kn *kn)
{
    double huge = (double)bn_buffer_huge_bytes(), wanted = (double)kn->buffers[1].bytes;

    if (kn->opts.is_json) {
        struct sl_jsonwriter *w = &kn->json;

        sl_jsonwriter_init(w, stdout, SL_JSONWRITER_SPACED);
        sl_jsonwriter_begin_object(w);
        write_str(w, "program", "kernels");
        write_str(w, "best_level", sl_cpu_level_name(kn->best));
        write_u64(w, "n_cores", kn->topo->n_cores);
        write_u64(w, "n_rounds", kn->opts.n_rounds);
        write_str(w, "pages", bn_buffer_pages_name(kn->opts.pages));
        write_f64(w, "huge_page_share", huge / wanted);
        sl_jsonwriter_key(w, "rows");
        sl_jsonwriter_begin_array(w);
        return;
    }
    printf("data in %s pages; of the huge pages asked for the system gave %.0f %%; "
           "shares of the read loop over ordinary and huge pages (or in the cache), and of the "
           "dot and tile ceilings, in %%\n", bn_buffer_pages_name(kn->opts.pages),
           100 * (huge < wanted ? huge : wanted) / wanted);
    printf("%-14s %-4s %-6s %-6s %11s %4s %3s %-6s %9s %7s %7s %7s %7s %5s %5s %5s %5s\n", "kernel",
           "path", "level", "isa", "cols x rows", "tok", "thr", "from", "us", "GB/s", "best",
           "GMAC/s", "best", "read", "huge", "dot", "tile");
}

static void print_slow(const struct kn *kn)
{
    if (kn->n_decode == 0)
        return;
    printf("one token, weights from memory: %u of %u entries below %.0f %% of the read loop",
           kn->n_slow, kn->n_decode, 100 * KN_SLOW_SHARE);
    for (uint32_t i = 0; i < kn->n_slow && i < KN_SLOW_MAX; i++) {
        const struct kn_slow *s = &kn->slow[i];

        printf("%s %s %s %ux%u, %u thread%s: %.0f %%", i ? ";" : ":", s->kernel, s->level,
               s->n_cols, s->n_rows, s->n_threads, s->n_threads == 1 ? "" : "s", 100 * s->share);
    }
    printf("%s\n", kn->n_slow > KN_SLOW_MAX ? "; and more" : "");
}

static void write_slow(struct kn *kn)
{
    struct sl_jsonwriter *w = &kn->json;

    write_u64(w, "n_decode", kn->n_decode);
    write_u64(w, "n_decode_slow", kn->n_slow);
    sl_jsonwriter_key(w, "decode_slow");
    sl_jsonwriter_begin_array(w);
    for (uint32_t i = 0; i < kn->n_slow && i < KN_SLOW_MAX; i++) {
        const struct kn_slow *s = &kn->slow[i];

        sl_jsonwriter_begin_object(w);
        write_str(w, "kernel", s->kernel);
        write_str(w, "level", s->level);
        write_u64(w, "n_cols", s->n_cols);
        write_u64(w, "n_rows", s->n_rows);
        write_u64(w, "n_threads", s->n_threads);
        write_f64(w, "share", s->share);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_array(w);
}

int kn_print_end(struct kn *kn)
{
    if (!kn->opts.is_json) {
        print_slow(kn);
        return fflush(stdout) == 0 ? 0 : -1;
    }
    sl_jsonwriter_end_array(&kn->json);
    write_slow(kn);
    sl_jsonwriter_key(&kn->json, "n_faults");
    sl_jsonwriter_u64(&kn->json, kn->n_faults);
    sl_jsonwriter_end_object(&kn->json);
    if (sl_jsonwriter_done(&kn->json) < 0)
        return -1;
    return printf("\n") < 0 || fflush(stdout) ? -1 : 0;
}
