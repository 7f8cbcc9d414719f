/*
 * The command line: finds the command and hands over. The one place that sets up the
 * process: signals, locale, standard streams.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/report.h"
#include "sluice.h"

static void print_help(FILE *to)
{
    fputs("Usage: sluice COMMAND [ARGUMENTS]\n"
          "Run LFM2 and LFM2-MoE language models from GGUF files.\n\n", to);
    for (const struct sl_command *c = sl_commands; c->name; c++)
        fprintf(to, "  %-10s %-20s %s\n", c->name, c->usage, c->summary);
    fputs("\n  sluice COMMAND --help    options of a command\n"
          "  sluice --version         version\n\n"
          "MODEL is a GGUF file or a pack, or a name that sluice ls shows.\n\n"
          "Exit codes: 0 all went well, 1 failed (one line on stderr says why),\n"
          "2 bad arguments, 130 interrupted.\n", to);
}

/* A standard stream that is closed would be taken by the next file that is opened. Put
 * something there that fails in the same way. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY); /* takes number fd */
}

static void print_version(FILE *to, struct argp_state *state)
{
    fprintf(to, "sluice %s\n", sluice_version());
}

static int run_command(const struct sl_command *command, int argc, char **argv)
{
    char name[64];
    int code;

    (void)snprintf(name, sizeof(name), "sluice %s", command->name); /* names are short */
    argv[1] = name;
    sl_interrupt_install();
    code = command->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && errno != EPIPE && code == SL_EXIT_OK)
        code = SL_EXIT_FAILED; /* what was written there was reported where it failed */
    return code;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const struct sl_command *command;

    fill_standard_streams();
    argp_err_exit_status = SL_EXIT_USAGE;
    argp_program_version_hook = print_version;
    signal(SIGPIPE, SIG_IGN); /* a reader that left shows as EPIPE */
    if (!setlocale(LC_CTYPE, "") || !strcmp(setlocale(LC_CTYPE, NULL), "C"))
        (void)setlocale(LC_CTYPE, "C.UTF-8"); /* for line editing; text is UTF-8 anyway */

    command = sl_command_find(name);
    if (command)
        return run_command(command, argc, argv);
    command = !strcmp(name, "help") && argc > 2 ? sl_command_find(argv[2]) : NULL;
    if (command) {
        char *help[] = {argv[0], argv[2], "--help", NULL};

        return run_command(command, 3, help);
    }
    if (argc < 2 || !strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?") ||
        !strcmp(name, "help")) {
        print_help(stdout);
        return sl_report_code(sl_report_flush());
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        print_version(stdout, NULL);
        return sl_report_code(sl_report_flush());
    }
    fprintf(stderr, "sluice: no such command: %.100s\nTry `sluice --help'.\n", name);
    return SL_EXIT_USAGE;
}
