/*
 * Saving takes the time of writing to the disk, and requests wait for it: the engine's memory
 * is one thread's. Clients are told names, and not where the folder is.
 */
#include "server/slotwork.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "server/apislots.h"

/* Take the folder out of a text, wherever it is named. */
static void hide_folder(struct sl_diag *diag, const char *folder)
{
    size_t len = strlen(folder) + 1; /* and the slash */
    char *at;

    while ((at = strstr(diag->text, folder)) != NULL && at[len - 1] == '/')
        memmove(at, at + len, strlen(at + len) + 1);
}

/* A new file, or one that there is. */
static int check_place(const struct sl_apicall *call, const char *path, struct sl_apierror *error)
{
    struct stat st;

    if (lstat(path, &st) == 0)
        return S_ISREG(st.st_mode) ? 0
                                   : sl_apierror_set(error, -EINVAL, 400, "filename",
                                                     "%s is no regular file", call->filename);
    if (errno == ENOENT && call->work == SL_APIWORK_SLOT_SAVE)
        return 0;
    return sl_apierror_set(error, -ENOENT, 400, "filename", "%s: %s", call->filename,
                           sl_err_text(-errno));
}

static int save_or_restore(const struct sl_apicall *call, struct sl_sched *sched,
                           const char *folder, const char *path, struct sl_strbuf *out,
                           struct sl_apierror *error)
{
    bool is_save = call->work == SL_APIWORK_SLOT_SAVE;
    struct sl_apislot_file answer = {.id = call->slot, .filename = call->filename};
    struct sl_sched_file file;
    struct sl_diag diag = {""};
    uint64_t start_ns = sl_clock_ns();
    int r = is_save ? sl_sched_save(sched, call->slot, path, &file, &diag)
                    : sl_sched_restore(sched, call->slot, path, &file, &diag);

    hide_folder(&diag, folder);
    if (r == -EBUSY || r == -ENOENT)
        return sl_apierror_set(error, r, r == -EBUSY ? 503 : 400, NULL, "%s", diag.text);
    if (r < 0)
        return sl_apierror_set_code(error, r, NULL, &diag);
    answer.n_tok = file.n_tok;
    answer.n_bytes = file.n_bytes;
    answer.ms = (double)(sl_clock_ns() - start_ns) * 1e-6;
    if (is_save)
        sl_apislots_write_saved(&answer, out);
    else
        sl_apislots_write_restored(&answer, out);
    return 0;
}

int sl_slotwork_do(const struct sl_apicall *call, struct sl_sched *sched, const char *folder,
                   struct sl_strbuf *out, struct sl_apierror *error)
{
    struct sl_strbuf path = {0};
    int r;

    if (call->work == SL_APIWORK_SLOT_ERASE) {
        sl_apislots_write_erased(call->slot, sl_sched_erase(sched, call->slot), out);
        return 0;
    }
    sl_strbuf_add_fmt(&path, "%s/%s", folder, call->filename);
    r = path.error ? sl_apierror_set(error, path.error, 503, NULL, "not enough memory")
                   : check_place(call, path.ptr, error);
    if (r == 0)
        r = save_or_restore(call, sched, folder, path.ptr, out, error);
    sl_strbuf_done(&path);
    return r;
}
