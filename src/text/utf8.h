/*
 * Where text stops being UTF-8. Called by the tokenizer; the stream of tokenizer.h is
 * in the same file. Any thread.
 */
#pragma once

#include <stddef.h>

/* Number of bytes at the start of text that are whole, valid characters. */
size_t sl_utf8_valid_len(const char *text, size_t len);
