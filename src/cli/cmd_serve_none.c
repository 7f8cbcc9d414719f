/* sluice serve where it was built without libevent. */
#include "cli/command.h"
#include "cli/report.h"

int sl_cmd_serve(int argc, char **argv)
{
    return sl_report_error("this sluice has no server: it was built without libevent");
}
