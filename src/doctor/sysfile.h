/*
 * Small files of /proc and /sys, below a root. Contents may be anything: no file, no newline,
 * a line without end. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The first line, clean and cut to fit, without what blanks it ends in; "" and false if there
 * is none. */
bool sl_sysfile_line(const char *root, const char *path, char *ret_text, size_t cap);

/* A whole number in decimal that is all of the first line; false: left as it was. */
bool sl_sysfile_number(const char *root, const char *path, uint64_t *ret_value);

/* The rest of the line that begins with key ("MemTotal:"), clean, without blanks around it;
 * likewise. */
bool sl_sysfile_key(const char *root, const char *path, const char *key, char *ret_text,
                    size_t cap);

/* A number of kB behind a key, as bytes; 0 if there is none. */
uint64_t sl_sysfile_kib(const char *root, const char *path, const char *key);

/* NULL if it cannot be opened. */
FILE *sl_sysfile_open(const char *root, const char *path);
