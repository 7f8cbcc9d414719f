/*
 * The checks of a machine: pure functions from what is known of it (facts.h) to findings. Each
 * group has a file. Commands are such that Debian, Ubuntu, Fedora and Arch take them without
 * further packages where that is possible.
 */
#pragma once

#include "doctor/facts.h"
#include "doctor/finding.h"

/* All of them, in the order in which they are shown. facts must outlive the findings. */
void sl_checks_run(struct sl_findings *findings, const struct sl_facts *facts);

void sl_cpuchecks_run(struct sl_findings *findings, const struct sl_facts *facts);
void sl_memchecks_run(struct sl_findings *findings, const struct sl_facts *facts);
void sl_limitchecks_run(struct sl_findings *findings, const struct sl_facts *facts);
void sl_syschecks_run(struct sl_findings *findings, const struct sl_facts *facts);
void sl_placechecks_run(struct sl_findings *findings, const struct sl_facts *facts);

/* "docker" or "podman" where the container is theirs, so that its option can be named; NULL. */
const char *sl_checks_runner(const struct sl_facts *facts);

#define SL_CHECKS_GIB(bytes) ((double)(bytes) / (double)((uint64_t)1 << 30))
