/* sluice serve where it was built without libevent. */
#include <argp.h>

#include "cli/command.h"
#include "cli/report.h"

/* Options that are taken are not known here. */
const struct argp sl_argp_serve = {.args_doc = "MODEL", .doc = "Not in this build."};

int sl_cmd_serve(int argc, char **argv)
{
    return sl_report_error("this sluice has no server: it was built without libevent");
}
