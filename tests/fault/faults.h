/*
 * Failing calls on purpose, and counting calls. A test program linked with
 * faults_link_args (tests/fault/meson.build) has its own calls, and those of our
 * static libraries, of the functions below go through wrappers; calls that shared
 * libraries make do not. Any thread.
 *
 *     for (n = 1; ; n++) {
 *         faults_arm(FAULTS_ALL, n);
 *         r = thing_open(...);
 *         faults_disarm();
 *         if (!faults_hit())
 *             break;            the n-th call never came: r must be success
 *         ... r must be the right error, and nothing may leak
 *     }
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    FAULTS_ALLOC = 1,  /* malloc, calloc, realloc, posix_memalign, aligned_alloc, strdup */
    FAULTS_MMAP = 2,   /* mmap */
    FAULTS_OPEN = 4,   /* open, openat, fopen */
    FAULTS_READ = 8,   /* pread */
    FAULTS_THREAD = 16, /* pthread_create */
    FAULTS_ALL = 31,
};

/* From now on let the n-th call (1-based) of these kinds fail: allocations and mmap with
 * ENOMEM, open with EMFILE, pread with EIO, pthread_create with EAGAIN. */
void faults_arm(uint32_t kinds, uint64_t n);

/* Let nothing fail any more. */
void faults_disarm(void);

/* Whether a call has failed on purpose since faults_arm. */
bool faults_hit(void);

/* How many calls of these kinds have been made since the program began. */
uint64_t faults_calls(uint32_t kinds);
