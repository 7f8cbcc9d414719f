/*
 * An engine for tests of the scheduler: sequences are real, with blocks that are shared and
 * run out as in the timeline; what a model would say is a function of the tokens alone, so
 * that any mistake in them shows in the reply. A prompt may hold its own reply:
 *
 *     REPLY TOKENS, FAKE_SCRIPT      is answered with those tokens, then FAKE_EOS
 *
 * Any other is answered with letters, and FAKE_EOS now and then. With a grammar, a sampler
 * says digits alone.
 */
#pragma once

#include "server/enginefn.h"

enum { /* tokens; below 256 are bytes */
    FAKE_EOS = 256,
    FAKE_THINK,
    FAKE_THINK_END,
    FAKE_CALL,
    FAKE_CALL_END,
    FAKE_MESSAGE,
    FAKE_SCRIPT,
    FAKE_POISON, /* no step that computes it succeeds */
    FAKE_N_VOCAB,
};

#define FAKE_SEQS 64
#define FAKE_ROW_NS 1000000u   /* that a row takes in a step */
#define FAKE_LAYERS 4        /* that a prefill is cut into; each has its part of the time, which
                              * it knows */
#define FAKE_CTX_MAX 8192

struct fakeengine_seq {
    bool is_used;
    bool is_busy; /* in the prefill */
    uint32_t n;
    uint32_t marks[2]; /* positions */
    uint32_t n_marked;
    uint32_t floor; /* so far back its last tokens allow to go */
    int32_t tokens[FAKE_CTX_MAX];
    uint32_t blocks[FAKE_CTX_MAX / 256 + 1];
};

struct fakeengine {
    struct sluice_session_opts opts;
    struct fakeengine_seq seqs[FAKE_SEQS];
    uint32_t refs[FAKE_CTX_MAX / 256 + 1];
    uint32_t n_blocks;
    float *logits; /* [n_logits][FAKE_N_VOCAB] */
    struct sluice_batch prefill[FAKE_SEQS];
    int32_t prefill_tokens[FAKE_CTX_MAX];
    uint32_t n_prefill, prefill_layers; /* that are left */
    uint32_t n_reserved; /* blocks */
    /* for tests to set and to read */
    uint32_t n_steps, n_rows_max, n_pieces, n_prefills;
    uint64_t clock_ns;    /* the time that it took so far */
    uint64_t prompt_ns;   /* that a step of several rows takes, however many */
    uint64_t slow_ns;     /* that the next piece of a prefill takes longer; once */
    uint64_t n_computed;  /* tokens */
    uint32_t fail_step;   /* the step of this number, from 1, fails once; 0: none */
    int fail_code;
    uint32_t n_samplers;  /* not freed yet */
    int32_t file[FAKE_CTX_MAX]; /* the one file, whatever its path */
    uint32_t n_file;
};

/* n_ctx is at most FAKE_CTX_MAX. */
void fakeengine_init(struct fakeengine *fake, struct sl_enginefn *fn,
                     const struct sluice_session_opts *opts);
void fakeengine_done(struct fakeengine *fake); /* asserts that blocks are in order */

/* A compiled grammar for jobs: "none left" cannot be used for want of memory, those that begin
 * with "root" fit whatever comes. The text must outlive the job. */
struct sluice_grammar *fakeengine_grammar(char *text);

uint32_t fakeengine_n_seqs(const struct fakeengine *fake);
