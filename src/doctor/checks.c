/* The order: what computes, what holds, what bounds, what reads. */
#include "doctor/checks.h"

#include <stddef.h>

const char *sl_checks_runner(const struct sl_facts *facts)
{
    switch (facts->system.container) {
    case SL_FACTS_DOCKER: return "docker";
    case SL_FACTS_PODMAN: return "podman";
    default: return NULL;
    }
}

void sl_checks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    sl_cpuchecks_run(findings, facts);
    sl_memchecks_run(findings, facts);
    sl_limitchecks_run(findings, facts);
    sl_syschecks_run(findings, facts);
    sl_placechecks_run(findings, facts);
}
