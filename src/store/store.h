/*
 * The models that lie on this machine in the folders of several programs: a list with names,
 * paths and sizes, and the places that were looked into. Filled by the listers (hfcache,
 * ollama, lmstudio, folder; all of them: allstores), which open no model; what a file holds
 * is inspect.h's, which one a text means is find.h's. Nothing is ever written to a store.
 * Called by src/cli. One thread per list.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SL_STORE_MODELS_MAX 100000u /* of a list; more are not listed, and the place says so */

enum sl_store_kind { /* in the order in which copies of a model are preferred */
    SL_STORE_HF = 0, /* the cache of Hugging Face's tools and of llama.cpp */
    SL_STORE_OLLAMA,
    SL_STORE_LMSTUDIO,
    SL_STORE_FOLDER, /* any folder */
};

enum sl_store_state {
    SL_STORE_OK = 0,     /* as far as it was looked into */
    SL_STORE_PARTIAL,    /* not all of it is there: a download that goes on, or was given up */
    SL_STORE_BROKEN,     /* malformed */
    SL_STORE_UNREADABLE, /* permission, or the system's error */
};

#define SL_STORE_ARCHITECTURE_BYTES 48
#define SL_STORE_TYPE_BYTES 24

/* A model; texts are heap, owned by the list, as the system has them: any bytes but 0. */
struct sl_store_model {
    enum sl_store_kind kind;
    enum sl_store_state state;
    char *note;     /* what is wrong, a line; NULL if nothing is */
    char *name;     /* what MODEL takes: "user/repo:Q4_K_M", "lfm2:24b", a file's name */
    char *repo;     /* "user/repo", "host/namespace/model", "" */
    char *revision; /* of a repo, if it is not the current one; else "" */
    char *tag;      /* "Q4_K_M", "24b"; "" */
    char *file;     /* below the repo's folder, or the place; NULL: there is no file */
    char *path;     /* the file, or the first part of a split one; NULL: there is none */
    char *digest;   /* 64 hexadecimal digits if the store knows them, else NULL */
    uint32_t n_parts;     /* files that make it up */
    uint64_t bytes;       /* of all parts that are there */
    dev_t dev;            /* of path, or a link that leads to nothing; 0: none */
    ino_t ino;
    /* by sl_inspect_model */
    bool is_inspected;
    bool is_lfm2;                                   /* of an architecture that we run */
    char architecture[SL_STORE_ARCHITECTURE_BYTES]; /* "": not known */
    char type[SL_STORE_TYPE_BYTES];                 /* of weights, "Q4_K_M"; "": not known */
};

enum sl_store_access {
    SL_STORE_THERE = 0,
    SL_STORE_ABSENT,
    SL_STORE_DENIED, /* it is there, but it, or a part of it, cannot be read */
};

struct sl_store_place {
    enum sl_store_kind kind;
    enum sl_store_access access;
    char *path;
    char *note; /* what is wrong, a line, or NULL */
    dev_t dev;
    ino_t ino;
};

struct sl_store { /* all zeroes: empty */
    struct sl_store_model *models;
    size_t n_models, cap_models;
    struct sl_store_place *places;
    size_t n_places, cap_places;
    int error; /* -ENOMEM: something is missing from the lists; sticky */
};

void sl_store_done(struct sl_store *store); /* it is empty then */

/* "Hugging Face", "Ollama", ... */
const char *sl_store_kind_name(enum sl_store_kind kind);
/* "huggingface", "ollama", "lmstudio", "folder": for programs */
const char *sl_store_kind_key(enum sl_store_kind kind);
const char *sl_store_state_key(enum sl_store_state state); /* "ok", "partial", ... */

/*
 * Add a place and look whether it can be listed. Returns its index, to be read; or -ENOENT
 * (absent; it is in the list), -EACCES or the system's error (likewise), -EEXIST (in the
 * list already, perhaps by another name), -ENOMEM. path is copied.
 */
int sl_store_add_place(struct sl_store *store, enum sl_store_kind kind, const char *path);

/* Note what could not be read in a place; only the first note is kept. */
void sl_store_note_place(struct sl_store *store, int place, enum sl_store_access access,
                         const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Add a model. All texts but name are copied, NULL repo, revision, tag: "". The new entry,
 * or NULL: no memory, or too many. It moves when another is added. */
struct sl_store_model *sl_store_add(struct sl_store *store, const struct sl_store_model *model);

/* Set a model's state and note, in place of those it had. */
void sl_store_set_state(struct sl_store_model *model, enum sl_store_state state,
                        const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Give all models their names, the shortest that tell those of one store apart, and put them
 * in order: by store, then by name. After all was added.
 */
void sl_store_finish(struct sl_store *store);
