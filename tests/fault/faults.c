/*
 * The wrappers behind ld's --wrap: a call of malloc in our code arrives at
 * __wrap_malloc, and __real_malloc is the C library's. With 64-bit file offsets the
 * headers rename open, pread and the like to their 64-bit twins, so both are here.
 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define N_KINDS 5

static atomic_uint armed_kinds;
static _Atomic int64_t left; /* calls until the one that fails */
static atomic_bool hit;
static _Atomic uint64_t calls[N_KINDS];

void faults_arm(uint32_t kinds, uint64_t n)
{
    atomic_store(&hit, false);
    atomic_store(&left, (int64_t)n);
    atomic_store(&armed_kinds, kinds);
}

void faults_disarm(void)
{
    atomic_store(&armed_kinds, 0);
}

bool faults_hit(void)
{
    return atomic_load(&hit);
}

uint64_t faults_calls(uint32_t kinds)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < N_KINDS; i++)
        if (kinds & (1u << i))
            n += atomic_load(&calls[i]);
    return n;
}

/* Count a call; true if it must fail. */
static bool fails(uint32_t kind)
{
    atomic_fetch_add(&calls[__builtin_ctz(kind)], 1);
    if (!(atomic_load(&armed_kinds) & kind) || atomic_fetch_sub(&left, 1) != 1)
        return false;
    atomic_store(&hit, true);
    return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
int __real_posix_memalign(void **ret_ptr, size_t align, size_t size);
int __wrap_posix_memalign(void **ret_ptr, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t off);
int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg);

void *__wrap_malloc(size_t size)
{
    if (!fails(FAULTS_ALLOC))
        return __real_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    if (!fails(FAULTS_ALLOC))
        return __real_calloc(n, size);
    errno = ENOMEM;
    return NULL;
}

void *__wrap_realloc(void *ptr, size_t size)
{
    if (!fails(FAULTS_ALLOC))
        return __real_realloc(ptr, size);
    errno = ENOMEM;
    return NULL;
}

int __wrap_posix_memalign(void **ret_ptr, size_t align, size_t size)
{
    return fails(FAULTS_ALLOC) ? ENOMEM : __real_posix_memalign(ret_ptr, align, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    if (!fails(FAULTS_ALLOC))
        return __real_aligned_alloc(align, size);
    errno = ENOMEM;
    return NULL;
}

char *__wrap_strdup(const char *text)
{
    if (!fails(FAULTS_ALLOC))
        return __real_strdup(text);
    errno = ENOMEM;
    return NULL;
}

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    if (!fails(FAULTS_MMAP))
        return __real_mmap(addr, len, prot, flags, fd, off);
    errno = ENOMEM;
    return MAP_FAILED;
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return __wrap_mmap(addr, len, prot, flags, fd, off);
}

/* The mode that open takes where it may create a file. */
static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

static int open_at(int dir, const char *path, int flags, mode_t mode)
{
    if (!fails(FAULTS_OPEN))
        return __real_openat(dir, path, flags, mode);
    errno = EMFILE;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int __wrap_openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_at(dir, path, flags, mode);
}

int __wrap_openat64(int dir, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_at(dir, path, flags, mode);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (!fails(FAULTS_OPEN))
        return __real_fopen(path, mode);
    errno = EMFILE;
    return NULL;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
    return __wrap_fopen(path, mode);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off)
{
    if (!fails(FAULTS_READ))
        return __real_pread(fd, buf, n, off);
    errno = EIO;
    return -1;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t off)
{
    return __wrap_pread(fd, buf, n, off);
}

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg)
{
    return fails(FAULTS_THREAD) ? EAGAIN : __real_pthread_create(ret_thread, attr, fn, arg);
}
