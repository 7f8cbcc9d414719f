/* sluice verify where it was built without OpenSSL's libcrypto. */
#include <argp.h>

#include "cli/command.h"
#include "cli/report.h"

/* Options that are taken are not known here. */
const struct argp sl_argp_verify = {.args_doc = "MODEL", .doc = "Not in this build."};

int sl_cmd_verify(int argc, char **argv)
{
    return sl_report_error("this sluice computes no SHA-256: it was built without libcrypto");
}
