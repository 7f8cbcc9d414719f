/* The vocabulary inside a GGUF file, for tests. */
#pragma once

#include "base/err.h"
#include "text/vocab.h"

/* The loader's errors, sl_vocab_new's, or -EBADMSG when a key is missing. */
int gguf_vocab_read(struct sl_vocab **ret_vocab, const char *path, struct sl_diag *diag);
