/*
 * Looking through a folder and those in it: files of models, those of a split one together.
 * Survives what file systems can hold: loops, dangling links, folders that may not be read,
 * folders without end. For the listers. One thread.
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "store/modelfile.h"

#define SL_WALK_DEPTH_MAX 8u        /* folders below the root */
#define SL_WALK_ENTRIES_MAX 200000u /* looked at, in all */

/* A model of a folder: a file, or the parts of a split one. Borrowed during the call. */
struct sl_walk_model {
    const char *dir;  /* the folder, from the root on; "": the root itself */
    const char *file; /* name of its first part that has a name there */
    struct sl_modelfile_name name;
    uint32_t part_missing; /* the first that cannot, 1-based; 0: none */
    int error;        /* why: 0, or -ENOENT (also: a link to nothing), -EACCES, ... */
    uint64_t bytes;   /* of all parts there */
    struct stat st;   /* of the file; of the link itself, if it leads to nothing */
};

struct sl_walk {
    /* Returns 0 to go on; what else stops and is sl_walk_run's result. */
    int (*model)(void *arg, const struct sl_walk_model *model);
    /* A folder that cannot be read; NULL: not told. dir as above. */
    void (*denied)(void *arg, const char *dir, int error);
    void *arg;
    uint32_t n_entries; /* looked at so far: a bound over several runs */
};

/* Below root, which may be a link. Hidden files and folders are left out, and repos of
 * the Hugging Face cache (models--...), which has a lister of its own. 0, the root's error
 * (as -ENOENT), -E2BIG (there is more than the limit), -ENOMEM. */
int sl_walk_run(struct sl_walk *walk, const char *root);

/*
 * The names in a folder, without "." and "..", in order; heap, to be freed by
 * sl_walk_free_names. Returns how many, or the system's error; at most
 * SL_WALK_ENTRIES_MAX of them.
 */
int sl_walk_names(const char *path, char ***ret_names);
void sl_walk_free_names(char **names, int n); /* n as it was returned, errors too */
