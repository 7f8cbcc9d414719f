/*
 * glibc has an arena for each thread that needs one. malloc_trim gives back the free pages
 * between what is in use, in all of them, but the end only of the first. The end of another
 * is cut off by free, and only when the block is large: so a large one is freed.
 */
#include "base/trim.h"

#include <malloc.h>
#include <stdlib.h>

#define BLOCK_BYTES (128u << 10) /* free looks at the end from 64 KiB */

void sl_trim(void)
{
    void *volatile block = malloc(BLOCK_BYTES); /* volatile: the pair is not left out */

    free(block);
    (void)malloc_trim(0); /* says whether there was anything */
}
