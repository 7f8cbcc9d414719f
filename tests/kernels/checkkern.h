/*
 * checkkern: every entry of the kernel table, at every CPU level, against the C
 * entry, bit for bit. A group is a file with a family's cases; a case is one row
 * of `--list`. To add a group: declare it below and name it in checkkern.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* One run of cases at one level; cases may read all of it. */
struct ck {
    const struct sl_kernels *c;   /* the reference */
    const struct sl_kernels *isa; /* the level under test */
    const char *isa_name;
    uint64_t rng;
    bool failed;          /* set by ck_fail */
    unsigned n_compared;  /* calls compared in this case; 0: nothing differs from C */
    struct ck_buf *bufs;  /* freed after each case */
};

struct ck_case {
    const char *name;
    int arg;                                    /* the case's own: a type, for example */
    void (*check)(struct ck *ck, int arg);
    void (*bench)(struct ck *ck, int arg);      /* or NULL; prints its own lines */
};

struct ck_group {
    const char *name;
    const struct ck_case *cases;
    size_t n_cases;
};

extern const struct ck_group ck_group_attend;
extern const struct ck_group ck_group_definition; /* C against double precision; --isa=c */
extern const struct ck_group ck_group_float;
extern const struct ck_group ck_group_matmul;
extern const struct ck_group ck_group_quantize;
extern const struct ck_group ck_group_vecops;

/* Random numbers: 64 bits; below n (n >= 1); in [-1, 1); with a normal-like shape. */
uint64_t ck_rand(struct ck *ck);
uint32_t ck_rand_below(struct ck *ck, uint32_t n);
float ck_rand_float(struct ck *ck);
float ck_rand_normal(struct ck *ck);
void ck_rand_bytes(struct ck *ck, void *buf, size_t len);

/*
 * size bytes that end (ck_alloc_end) or start (ck_alloc_start) at an inaccessible
 * page; the address is a multiple of align, a power of two, plus offset bytes for
 * ck_alloc_start. Filled with poison, freed after the case. For ck_alloc_end at
 * most align - 1 bytes lie between the end and the page.
 */
void *ck_alloc_end(struct ck *ck, size_t size, size_t align);
void *ck_alloc_start(struct ck *ck, size_t size, size_t offset);

/* Free everything allocated so far in this case. */
void ck_free_all(struct ck *ck);

/* Fill with the pattern of untouched outputs. */
void ck_poison(void *buf, size_t size);

/* Name the call that comes next, for the report of a crash and of a difference. */
void ck_about(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Report a difference, with what ck_about said. */
void ck_fail(struct ck *ck, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Compare two outputs; counts the call. Returns whether they are equal. */
bool ck_equal(struct ck *ck, const void *want, const void *got, size_t size);

/* Processor seconds per call of fn(arg), the least of several rounds of 50 ms. */
double ck_time(void (*fn)(void *arg), void *arg);
