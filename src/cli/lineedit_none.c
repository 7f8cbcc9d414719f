/* Built where libedit is missing: chat reads plain lines. */
#include <errno.h>

#include "cli/lineedit.h"

int sl_lineedit_open(struct sl_lineedit **ret_edit, const char *history_path)
{
    return -ENOTSUP;
}

void sl_lineedit_close(struct sl_lineedit *edit)
{
}

int sl_lineedit_read(struct sl_lineedit *edit, const char *prompt, char **ret_line)
{
    return -ENOTSUP;
}
