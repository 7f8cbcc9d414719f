/*
 * What the model tests share: where the models are, which CPU level to use, seeds, and
 * loud failure.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice.h"

#define TEST_SKIP 77

#define CHECK(cond, ...)                                                       \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                    \
            fprintf(stderr, __VA_ARGS__);                                      \
            fputc('\n', stderr);                                               \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

/* Path of a file in the data folder (SL_SHARED, else ../shared of the source tree).
 * Static storage, one call at a time. Exits with 77 if the folder is missing. */
const char *common_data(const char *name);

/* CPU level from SLUICE_TEST_CPU; exits with 77 if this machine lacks it. */
enum sluice_cpu common_cpu(void);

/* From SL_SEED, else the clock; printed. */
uint64_t common_seed(void);
uint64_t common_random(uint64_t *state); /* splitmix64 */

struct sluice_model *common_open(const char *name, uint32_t n_threads, enum sluice_cpu cpu);
struct sluice_session *common_session(struct sluice_model *model,
                                      const struct sluice_session_opts *opts);

/* Append tokens to a sequence in calls of at most n_call; their logits rows go to rows. */
void common_feed(struct sluice_session *session, int seq, const int32_t *tokens, uint32_t n,
                 uint32_t n_call, uint32_t n_vocab, float *rows);
