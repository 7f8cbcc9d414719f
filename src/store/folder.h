/* Models in any folder and those below it, and what the listers that walk share. */
#pragma once

#include "store/store.h"
#include "store/walk.h"

/* List the models of a folder. The error of sl_store_add_place, or 0; -ENOMEM. */
int sl_folder_list(struct sl_store *store, const char *root);

/*
 * Add what a walk below root found: m is filled with its file, path, parts, size and state,
 * and its type as tag (its stem where the name says none); kind, repo, revision, digest are
 * the caller's. 0 or -ENOMEM, -E2BIG (the list is full).
 */
int sl_folder_add(struct sl_store *store, struct sl_store_model *m, const char *root,
                  const struct sl_walk_model *found);

/* The note for a place when a walk below it ended with r, if that is worth one. */
void sl_folder_note_end(struct sl_store *store, int place, int r);

/* sl_walk's denied with a struct sl_folder_at as arg's first member. */
struct sl_folder_at {
    struct sl_store *store;
    int place;
    const char *root;
};
void sl_folder_denied(void *arg, const char *dir, int error);
