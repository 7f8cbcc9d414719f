/*
 * bench/kernels: what its parts share. A case is one kernel at one shape, level and
 * number of threads; cases that stand side by side are measured in turn, each round
 * beginning with the ceilings. One thread at a time.
 */
#pragma once

#include <stdbool.h>

#include "base/jsonwriter.h"
#include "bench/bn_buffer.h"
#include "bench/bn_ceiling.h"
#include "bench/bn_team.h"
#include "kernels/kernels.h"

#define KN_LEVELS (SL_CPU_AVX512 + 1)
#define KN_TEAMS_MAX 2
#define KN_BATCHES_MAX 16
#define KN_GROUP_MAX 32 /* cases measured in turn */
#define KN_ROUNDS_MAX 101
#define KN_SLOW_MAX 256   /* entries named at the end */
#define KN_SLOW_SHARE 0.8 /* of the read loop: what decoding should reach at least */

enum kn_place { /* where the data lies */
    KN_MEMORY = 0,
    KN_L2,
    KN_L1,
    KN_PLACES,
};

enum kn_bound { /* which arithmetic bounds it */
    KN_BOUND_NONE = 0,
    KN_BOUND_DOT,
    KN_BOUND_FMA,
};

struct kn_opts {
    const char *kernel;    /* only kernels whose name begins so; NULL: all */
    const char *shape;     /* only this shape; NULL: gate and down; "all" */
    int level;             /* enum sl_cpu_level; -1: all */
    int place;             /* enum kn_place; -1: all */
    enum bn_pages pages;   /* that weights and KV lie in */
    uint32_t batches[KN_BATCHES_MAX], n_batches; /* none: the default ones */
    uint32_t n_threads;    /* 0: one, and all */
    uint32_t n_rounds;
    double seconds;        /* of one timing */
    bool is_json, is_ceilings; /* ceilings: nothing else */
};

/* An entry of the decode path that reads memory slower than KN_SLOW_SHARE. */
struct kn_slow {
    const char *kernel, *level;
    uint32_t n_cols, n_rows, n_threads;
    double share; /* of the read loop over the same pages, median of the rounds */
};

struct kn {
    struct kn_opts opts;
    struct sl_topology *topo;
    enum sl_cpu_level best;
    struct sl_kernels kernels[KN_LEVELS];  /* up to best */
    struct bn_ceiling ceilings[KN_LEVELS]; /* up to best */
    struct bn_team *teams[KN_TEAMS_MAX];   /* few threads first */
    uint32_t n_teams;
    uint32_t n_workers;                /* of the largest team */
    struct bn_buffer buffers[2];       /* by enum bn_pages */
    size_t cache_bytes[KN_PLACES];     /* a worker's data in L2 and L1, at most */
    struct sl_jsonwriter json;
    uint32_t n_rows, n_faults;         /* printed; results that are not those of C */
    struct kn_slow slow[KN_SLOW_MAX];
    uint32_t n_decode, n_slow; /* entries of the decode path; those below the share, all of them */
};

struct kn_case {
    const char *kernel; /* "q4_k", "attend f16" */
    const char *path;   /* "one", "many", or "" */
    const char *isa;    /* what really runs */
    uint32_t n_cols, n_rows, n_tok;
    enum kn_place place;
    enum kn_bound bound;
    bool is_decode;     /* one token, weights from memory, a kernel that is not C's */
    double bytes, macs; /* of one call of one worker; 0 macs: none to speak of */
    bn_team_fn call;
    void *arg;
};

struct kn_group {
    enum sl_cpu_level level;
    struct bn_team *team;
    struct kn_case cases[KN_GROUP_MAX];
    uint32_t n;
};

/* Whether the options want it. A batch of 0 stands for kernels that have none. */
bool kn_wants_kernel(const struct kn *kn, const char *name);
bool kn_wants_level(const struct kn *kn, enum sl_cpu_level level);
bool kn_wants_batch(const struct kn *kn, uint32_t n_tok);
bool kn_wants_place(const struct kn *kn, enum kn_place place);

/* The level that an entry of the table, at this offset of struct sl_kernels, is of. */
enum sl_cpu_level kn_entry_level(const struct kn *kn, enum sl_cpu_level level, size_t entry);

/* A worker's part of a buffer, in whole units (of bytes); *ret_bytes is what it has. */
char *kn_share(const struct kn *kn, enum bn_pages pages, const struct bn_team *team,
               uint32_t worker, size_t unit, size_t *ret_bytes);

/* Fill the buffer that kernels read with copies of n bytes, one behind the other. */
void kn_fill(struct kn *kn, const void *pattern, size_t n);

/* Compare with the result of C; a difference is told and counted. */
void kn_check(struct kn *kn, const struct kn_case *c, enum sl_cpu_level level, const void *want,
              const void *got, size_t bytes);

/* Measure and print the cases of a group, and the ceilings that they are held against; all
 * ceilings for a group without cases. */
void kn_run_group(struct kn *kn, const struct kn_group *group);

/* The ceilings alone, of each level and number of threads. */
void kn_run_ceilings(struct kn *kn);

void kn_print_begin(struct kn *kn);
int kn_print_end(struct kn *kn);

/* The kernels, by family. 0 or -ENOMEM. */
int kn_matmul(struct kn *kn, enum sl_dtype dtype);
int kn_attend(struct kn *kn, enum sl_kv_type type);
int kn_vector(struct kn *kn);
