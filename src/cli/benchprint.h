/*
 * Results of sluice bench in the five formats of llama.cpp's llama-bench, so that scripts
 * written for it can read them: the same fields in the same order, the same quoting and
 * formats of numbers. Fields of our own come last, on request. Main thread.
 *
 * Source of the formats: what llama-bench of September 2026 printed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/units.h"

enum sl_bench_format {
    SL_BENCH_NONE = 0,
    SL_BENCH_MD,
    SL_BENCH_CSV,
    SL_BENCH_JSON,
    SL_BENCH_JSONL,
    SL_BENCH_SQL,
};

/* In the order of the formats. */
enum sl_bench_field {
    SL_BENCH_BUILD_COMMIT = 0, /* our version, "0.1.0" */
    SL_BENCH_BUILD_NUMBER,     /* of it: 100 */
    SL_BENCH_CPU_INFO,
    SL_BENCH_GPU_INFO,
    SL_BENCH_BACKENDS,
    SL_BENCH_MODEL_FILENAME,
    SL_BENCH_MODEL_TYPE,
    SL_BENCH_MODEL_SIZE,
    SL_BENCH_MODEL_N_PARAMS,
    SL_BENCH_N_BATCH,
    SL_BENCH_N_UBATCH,
    SL_BENCH_N_THREADS,
    SL_BENCH_CPU_MASK,
    SL_BENCH_CPU_STRICT,
    SL_BENCH_POLL,
    SL_BENCH_TYPE_K,
    SL_BENCH_TYPE_V,
    SL_BENCH_N_GPU_LAYERS,
    SL_BENCH_N_CPU_MOE,
    SL_BENCH_SPLIT_MODE,
    SL_BENCH_MAIN_GPU,
    SL_BENCH_NO_KV_OFFLOAD,
    SL_BENCH_FLASH_ATTN,
    SL_BENCH_DEVICES,
    SL_BENCH_TENSOR_SPLIT,
    SL_BENCH_TENSOR_BUFT_OVERRIDES,
    SL_BENCH_LOAD_MODE,
    SL_BENCH_LAZY_MODE,
    SL_BENCH_EMBEDDINGS,
    SL_BENCH_NO_OP_OFFLOAD,
    SL_BENCH_NO_HOST,
    SL_BENCH_FIT_TARGET,
    SL_BENCH_FIT_MIN_CTX,
    SL_BENCH_N_PROMPT,
    SL_BENCH_N_GEN,
    SL_BENCH_N_DEPTH,
    SL_BENCH_TEST_TIME,
    SL_BENCH_AVG_NS,
    SL_BENCH_STDDEV_NS,
    SL_BENCH_AVG_TS,
    SL_BENCH_STDDEV_TS,
    /* with --extended */
    SL_BENCH_BYTES_PER_TOKEN, /* of weights, to decode one */
    SL_BENCH_READ_BANDWIDTH,  /* bytes per second of a read loop, beside the test */
    SL_BENCH_LIMIT_SHARE,     /* avg_ts x bytes_per_token / read_bandwidth; decoding alone */
    SL_BENCH_FIELDS,
};
#define SL_BENCH_FIELDS_THEIRS SL_BENCH_BYTES_PER_TOKEN

/* One test. */
struct sl_bench_row {
    const char *model_path, *model_type, *kv; /* borrowed */
    uint64_t model_bytes, n_params;
    uint32_t n_batch, n_ubatch, n_threads;
    uint32_t n_prompt, n_gen, n_depth;
    char time[SL_UNITS_TIME_BYTES];    /* of its beginning, "2026-11-23T02:04:56Z" */
    uint64_t *samples_ns;              /* borrowed */
    uint32_t n_samples;
    uint64_t token_bytes;
    double read_bytes_per_s;           /* 0: not measured */
};

struct sl_benchprint {
    FILE *file;
    enum sl_bench_format format;
    bool is_extended;
    bool is_shown[SL_BENCH_FIELDS];            /* md: fields that differ between tests or from
                                                  what is usual; others are never left out */
    const char *given[SL_BENCH_FIELDS];        /* what options said that change nothing; NULL:
                                                  the usual value */
    char cpu[128];
    bool has_rows; /* set by the functions below */
};

/* The format of this name, or -1. */
int sl_benchprint_format(const char *name);

/* What a field holds where no option says otherwise; NULL for those of a test. */
const char *sl_benchprint_usual(enum sl_bench_field field);

/* This machine's CPU, as the system names it, for cpu[]. */
void sl_benchprint_cpu(char *ret_name, size_t size);

/* Header, a row, and what comes after the last one; if rows are missing (is_whole false),
 * what is needed to read the others. Nothing for SL_BENCH_NONE. Whether writing failed is for
 * the caller to ask the file. */
void sl_benchprint_begin(struct sl_benchprint *p);
void sl_benchprint_row(struct sl_benchprint *p, const struct sl_bench_row *row);
void sl_benchprint_end(struct sl_benchprint *p, bool is_whole);
