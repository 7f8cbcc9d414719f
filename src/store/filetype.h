/* Names of what general.file_type says: the mixture of weight types of a file. */
#pragma once

#include <stdint.h>

/* "Q4_K_M"; NULL for a number without a name. Any thread. */
const char *sl_filetype_name(uint64_t number);
