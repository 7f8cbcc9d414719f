/* Opening and closing. The profile's folder is made once it is known that experts stream. */
#include "cli/opened.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/statedir.h"
#include "cli/workeropts.h"

static void set_profile(struct sl_model_args *args)
{
    char *path = args->no_profile ? NULL : sl_options_profile_path(args->path);

    args->opts.profile_path = NULL;
    if (path && strlen(path) < sizeof(args->profile)) {
        strcpy(args->profile, path);
        args->opts.profile_path = args->profile;
    }
    free(path);
}

/* Lines of notes, each once. */
static void print_notes(const char *notes)
{
    while (*notes) {
        size_t len = strcspn(notes, "\n");

        if (len)
            sl_report_note("%.*s", (int)len, notes);
        notes += len + (notes[len] == '\n');
    }
}

int sl_opened_open(struct sl_opened *opened, struct sl_model_args *args,
                   const struct sluice_session_opts *session)
{
    struct sl_progress progress = {0};
    struct sluice_error error = {""};
    bool has_own = args->opts.progress != NULL;
    int r = sl_workeropts_apply(args);

    if (r)
        return r;
    set_profile(args);
    args->opts.session = session;
    if (!has_own) {
        args->opts.progress = sl_progress_update;
        args->opts.progress_arg = &progress;
    }
    r = sluice_model_open(&opened->model, args->path, &args->opts, &error);
    sl_progress_end(&progress);
    if (r < 0 && (sl_interrupt_is_set() || (r == -ECANCELED && has_own)))
        return SL_EXIT_INTERRUPTED;
    if (r < 0)
        return sl_report_failure(error.text);
    sluice_model_get_info(opened->model, &opened->info);
    if (opened->info.notes)
        print_notes(opened->info.notes);
    if (!opened->info.is_streaming && args->opts.trace_path)
        sl_report_note("the experts are resident, so there is nothing to trace");
    if (opened->info.is_streaming && args->opts.profile_path)
        (void)sl_statedir_make_folders(args->profile); /* without it nothing is kept */
    if (session && sluice_session_new(&opened->session, opened->model, session, &error) < 0)
        return sl_report_failure(error.text);
    return 0;
}

int sl_opened_close(struct sl_opened *opened, int code)
{
    struct sluice_error error = {""};

    sluice_session_free(opened->session);
    if (opened->model && sluice_model_finish(opened->model, &error) < 0) {
        (void)sl_report_error("%s", error.text);
        code = code ? code : SL_EXIT_FAILED;
    }
    sluice_model_close(opened->model);
    *opened = (struct sl_opened){0};
    return code;
}

int sl_opened_step_code(const struct sl_opened *opened, int r)
{
    const char *text;

    if (r >= 0)
        return SL_EXIT_OK;
    if (r == -ECANCELED && sl_interrupt_is_set())
        return SL_EXIT_INTERRUPTED;
    text = sluice_session_error(opened->session);
    return sl_report_error("%s", text[0] ? text : sl_err_text(r));
}
