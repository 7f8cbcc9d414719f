/*
 * What POST /slots/N asks for: what the slot's last request left is saved to a file, taken
 * back from one, or forgotten. Files are those of one folder, and names have been checked
 * (api.h); anything there that is no regular file is left alone. Engine thread.
 */
#pragma once

#include "server/api.h"
#include "server/sched.h"

/*
 * Do what the call says and append the answer to out; errors of it are kept there. folder is
 * that of the files, NULL: there is none, and calls for files do not come. 0, or a negative
 * errno, and error is filled in.
 */
int sl_slotwork_do(const struct sl_apicall *call, struct sl_sched *sched, const char *folder,
                   struct sl_strbuf *out, struct sl_apierror *error);
