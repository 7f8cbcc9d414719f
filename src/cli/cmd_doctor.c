/*
 * sluice doctor: what of this machine slows models down, and the commands that mend it. Facts
 * are gathered and judged by src/doctor; where models lie, and measuring, is added here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/doctorplaces.h"
#include "cli/doctorprint.h"
#include "cli/interrupt.h"
#include "cli/machine.h"
#include "cli/modelname.h"
#include "cli/report.h"
#include "doctor/checks.h"
#include "loader/mapping.h"

enum {
    KEY_JSON = 512,
    KEY_QUICK,
};

#define DISK_SECONDS 2.0       /* of all disks together */
#define DISK_SECONDS_EACH 0.7

struct doctor_args {
    const char *name, *path; /* NULL: no model was named */
    char found[4096];
    bool json, quick;
};

struct doctor {
    struct sl_facts facts;
    struct sl_findings findings;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct doctor_args *args = state->input;

    switch (key) {
    case KEY_JSON: args->json = true; break;
    case KEY_QUICK: args->quick = true; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (args->name)
            argp_error(state, "too many arguments");
        args->name = arg;
        break;
    case ARGP_KEY_SUCCESS:
        if (args->name)
            args->path = sl_modelname_path(state, args->name, args->found, sizeof(args->found));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {"quick", KEY_QUICK, NULL, 0, "Measure nothing, neither memory nor disks", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

const struct argp sl_argp_doctor = {
    .options = options,
    .parser = parse,
    .args_doc = "[MODEL]",
    .doc = "Check what of this machine slows models down, and print the commands that mend it.\v"
           "Checked are processor, memory, limits, io_uring, and the file systems and disks where "
           "models lie, or that of MODEL, which is held against the memory too. Nothing is "
           "changed or written; measuring takes about three seconds. A check is ok, warn (it "
           "works, and could be better), bad, or unknown. Exit code 1 if any is bad, else 0.\n\n"
           "--json prints {\"checks\": [...], \"ok\": N, \"unknown\": N, \"warn\": N, \"bad\": N}. "
           "A check has key, state, found (text), file (that it is about), costs, command (that "
           "mends it), advice (on it, or instead), value (measured) and unit (of it); what does "
           "not apply is null.",
};

/* Say what is being measured, on a terminal; NULL: nothing any more. */
static void show(const char *what)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (what)
        fprintf(stderr, "\rmeasuring %s\033[K", what);
    else
        fputs("\r\033[K", stderr);
}

/* What cannot be measured stays unknown, with the reason where there is one. */
static void measure(struct sl_facts *facts)
{
    struct sl_machine machine = {.disk_depth = 0};
    double seconds = facts->n_places ? DISK_SECONDS / facts->n_places : 0.0;

    show("memory");
    if (sl_machine_measure_memory(&machine, 0) == 0) {
        facts->memory.bytes_per_s = machine.memory_bytes_per_s;
        facts->memory.n_threads = machine.memory_threads;
    }
    for (uint32_t i = 0; i < facts->n_places && !sl_interrupt_is_set(); i++) {
        char what[96];

        (void)snprintf(what, sizeof(what), "the disk: %s %.60s", facts->places[i].type,
                       facts->places[i].device);
        show(what);
        sl_placefacts_measure(&facts->places[i],
                              seconds < DISK_SECONDS_EACH ? seconds : DISK_SECONDS_EACH);
    }
    show(NULL);
}

static int run_doctor(struct doctor *doctor, const struct doctor_args *args)
{
    struct sl_diag diag;
    int code;

    sl_facts_gather(&doctor->facts, "");
    doctor->facts.is_quick = args->quick;
    code = sl_doctorplaces_gather(&doctor->facts, args->path);
    if (code)
        return code;
    if (args->path && !doctor->facts.places[0].file_bytes)
        return sl_report_error("%s: %s", args->path, doctor->facts.places[0].why);
    if (args->path && sl_doctorplaces_plan(&doctor->facts, args->path, args->name, &diag) < 0)
        sl_report_note("only its disk is looked at: %s", diag.text);
    if (!args->quick)
        measure(&doctor->facts);
    if (sl_interrupt_is_set())
        return SL_EXIT_INTERRUPTED;
    sl_checks_run(&doctor->findings, &doctor->facts);
    if (sl_findings_error(&doctor->findings) < 0)
        return sl_report_error("not enough memory for the report");
    code = sl_report_code(args->json ? sl_doctorprint_json(&doctor->findings)
                                     : sl_doctorprint_text(&doctor->findings));
    if (code == SL_EXIT_OK && sl_doctorprint_count(&doctor->findings, SL_FINDING_BAD))
        code = SL_EXIT_FAILED;
    return code;
}

int sl_cmd_doctor(int argc, char **argv)
{
    struct doctor_args args = {0};
    struct doctor *doctor;
    int code;

    sl_cmdline_parse(&sl_argp_doctor, argc, argv, 0, &args);
    (void)sl_mapping_install_sigbus(); /* without it, a file cut meanwhile ends the program */
    doctor = calloc(1, sizeof(*doctor));
    if (!doctor)
        return sl_report_error("not enough memory");
    code = run_doctor(doctor, &args);
    sl_findings_done(&doctor->findings);
    free(doctor);
    return code;
}
