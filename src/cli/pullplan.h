/*
 * How a model would run here, judged before it is downloaded: sluice plan in four lines, from
 * the head of its file, or from its size alone where the head says too little.
 */
#pragma once

#include <stdbool.h>

#include "base/jsonwriter.h"
#include "cli/forecast.h"
#include "cli/machine.h"

struct sl_pullplan {
    bool is_read;             /* the head was understood; else only the size is known */
    bool is_bad;              /* it would not run here, or hardly */
    char why[SL_DIAG_BYTES];  /* it is bad, or the head was not understood */
    uint64_t bytes;           /* of the model's files */
    uint64_t available_bytes; /* of memory, now */
    struct sl_forecast here;  /* without --ram; if is_read and it runs here */
    bool runs_here;
    uint64_t min_bytes, resident_bytes; /* of --ram; 0: not known, or it does not stream */
    double memory_bytes_per_s, disk_bytes_per_s; /* 0: not known */
};

/*
 * Plan for the GGUF file at path, which may be the first part of a split one and may end
 * anywhere after its tensor table; folder is where the files will be. -EAGAIN: more of the
 * head is needed, or it is malformed: ret says so already. 0 in all other cases, also where
 * the model cannot be run.
 */
int sl_pullplan_make(struct sl_pullplan *ret, const char *path, const char *folder,
                     uint64_t model_bytes, enum sl_machine_mode mode);

/* To stderr: memory and speed, two lines or three. */
void sl_pullplan_print(const struct sl_pullplan *plan);
/* A member "plan". */
void sl_pullplan_write(struct sl_jsonwriter *w, const struct sl_pullplan *plan);
