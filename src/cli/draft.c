/* --draft off, lookup, or lookup:N, and the statistics that belong to it. */
#include "cli/draft.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/report.h"

enum { KEY_DRAFT = 640 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct sl_draft_args *args = state->input;

    if (key != KEY_DRAFT)
        return ARGP_ERR_UNKNOWN;
    *args = (struct sl_draft_args){0};
    if (strcmp(arg, "off") == 0)
        return 0;
    args->is_on = true;
    if (strncmp(arg, "lookup:", 7) == 0)
        args->n_fixed = (uint32_t)sl_options_uint(state, "--draft lookup", arg + 7, 1,
                                                  SL_SPECULATE_DRAFT_MAX);
    else if (strcmp(arg, "lookup") != 0)
        argp_error(state, "--draft: off, lookup or lookup:N expected, found \"%s\"", arg);
    return 0;
}

static const struct argp_option options[] = {
    {"draft", KEY_DRAFT, "KIND", 0,
     "Guess ahead what repeats the prompt or the answer, and compute it in one step; the answer "
     "is the same: off, lookup (as far as it pays), lookup:N, always N tokens", 0},
    {0},
};
const struct argp sl_draft_argp = {.options = options, .parser = parse};

void sl_draft_set_rows(const struct sl_draft_args *args, struct sluice_session_opts *opts)
{
    uint32_t n = SL_SPECULATE_ROWS_MAX;

    if (!args->is_on)
        return;
    n = opts->n_chunk && opts->n_chunk < n ? opts->n_chunk : n;
    opts->n_logits = opts->n_ctx && opts->n_ctx < n ? opts->n_ctx : n;
}

int sl_draft_new(const struct sl_draft_args *args, const struct sluice_session *session,
                 struct sl_speculate **ret_speculate)
{
    struct sl_speculate_opts opts = {.n_fixed = args->n_fixed};
    struct sluice_session_opts session_opts;

    if (!args->is_on)
        return 0;
    sluice_session_get_opts(session, &session_opts);
    opts.n_window = session_opts.n_ctx;
    if (sl_speculate_new(ret_speculate, &opts) < 0)
        return sl_report_error("not enough memory for drafts");
    return 0;
}

static double percent(uint64_t part, uint64_t all)
{
    return all ? 100.0 * (double)part / (double)all : 0.0;
}

/* Without steps of one token there is nothing to hold drafts against. */
static bool is_net_known(const struct sl_generate_drafts *drafts)
{
    return sl_draftlen_cost(&drafts->learned, 1) > 0;
}

/* " | a step of 2 tokens takes 1.3, of 4 1.7 steps of one" */
static void print_costs(const struct sl_draftlen *learned)
{
    const char *before = " | a step of ";
    bool is_first = true;

    for (uint32_t n = 2; n <= SL_SPECULATE_ROWS_MAX; n++) {
        double cost = sl_draftlen_cost(learned, n);

        if (cost <= 0)
            continue;
        fprintf(stderr, "%s%u%s %.1f", before, n, is_first ? " tokens takes" : "", cost);
        before = ", of ";
        is_first = false;
    }
    if (!is_first)
        fputs(" steps of one", stderr);
}

void sl_draft_print(const struct sl_generate_stats *stats)
{
    const struct sl_speculate_stats *c = &stats->drafts.count;

    if (!stats->drafts.is_on)
        return;
    fprintf(stderr, "[drafts in %llu of %llu steps: %llu tokens drafted, %llu accepted (%.0f %%)",
            (unsigned long long)c->n_drafts, (unsigned long long)c->n_steps,
            (unsigned long long)c->n_drafted, (unsigned long long)c->n_accepted,
            percent(c->n_accepted, c->n_drafted));
    fprintf(stderr, " | %llu steps saved", (unsigned long long)c->n_accepted);
    if (is_net_known(&stats->drafts))
        fprintf(stderr, ", %.1f after what drafts took", c->saved);
    print_costs(&stats->drafts.learned);
    if (c->n_unpaid)
        fprintf(stderr, " | %llu steps without: it would not have paid",
                (unsigned long long)c->n_unpaid);
    if (c->n_unread)
        fprintf(stderr, " | %llu steps without: only %.0f %% of the experts were in memory",
                (unsigned long long)c->n_unread,
                100 * sl_draftlen_hit_share(&stats->drafts.learned));
    fputs("]\n", stderr);
}

void sl_draft_write(struct sl_jsonwriter *w, const struct sl_generate_stats *stats)
{
    const struct sl_speculate_stats *c = &stats->drafts.count;

    if (!stats->drafts.is_on)
        return;
    sl_jsonwriter_member_object(w, "drafts");
    sl_jsonwriter_member_u64(w, "steps", c->n_steps);
    sl_jsonwriter_member_u64(w, "steps_with_draft", c->n_drafts);
    sl_jsonwriter_member_u64(w, "drafted", c->n_drafted);
    sl_jsonwriter_member_u64(w, "accepted", c->n_accepted);
    sl_jsonwriter_member_u64(w, "steps_saved", c->n_accepted);
    sl_jsonwriter_member_f64(w, "net_steps_saved",
                             is_net_known(&stats->drafts) ? c->saved : NAN);
    sl_jsonwriter_member_u64(w, "steps_not_paying", c->n_unpaid);
    sl_jsonwriter_member_u64(w, "steps_short_of_experts", c->n_unread);
    sl_jsonwriter_member_f64(w, "expert_hit_share",
                             sl_draftlen_hit_share(&stats->drafts.learned));
    sl_jsonwriter_member_object(w, "step_costs");
    for (uint32_t n = 2; n <= SL_SPECULATE_ROWS_MAX; n++) {
        double cost = sl_draftlen_cost(&stats->drafts.learned, n);
        char key[16];

        if (cost <= 0)
            continue;
        (void)snprintf(key, sizeof(key), "%u", n);
        sl_jsonwriter_member_f64(w, key, cost);
    }
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_end_object(w);
}
