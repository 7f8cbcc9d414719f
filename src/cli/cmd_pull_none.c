/* sluice pull where it was built without libcurl or OpenSSL's libcrypto. */
#include <argp.h>

#include "cli/command.h"
#include "cli/report.h"

/* Options that are taken are not known here. */
const struct argp sl_argp_pull = {.args_doc = "user/repo[:TYPE]", .doc = "Not in this build."};

int sl_cmd_pull(int argc, char **argv)
{
    return sl_report_error("this sluice downloads nothing: it was built without libcurl or "
                           "libcrypto");
}
