/*
 * A recursive-descent parser; groups are the only recursion, and their depth is bounded.
 *
 *     grammar     = { name "::=" choice newline }
 *     choice      = sequence { "|" sequence }
 *     sequence    = { item [ "*" | "+" | "?" | "{m}" | "{m,}" | "{m,n}" ] }
 *     item        = "literal" | [class] | "." | name | <token> | ( choice )
 *
 * A line end closes a rule, unless it stands within a group, behind "::=" or behind "|".
 * A hash begins a comment. An item may be repeated once more: "a"?* is ("a"?)*.
 *
 * Names are resolved at the end by sorting all uses: no table to be flooded, and what is
 * missing or there twice is found on the way.
 *
 * Differences to llama.cpp: what it takes silently is refused where it can only be a slip
 * (a rule defined twice, an empty class, a range that runs backwards, a surrogate).
 * Underscores are allowed in names, as its guide says.
 */
#include "text/gbnf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/gbnfscan.h"
#include "text/vector.h"

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

/* Blanks and comments, and line ends if the rule cannot be over. */
static void skip_space(struct sl_gbnfscan *p, bool lines)
{
    while (p->at < p->end) {
        char c = *p->at;

        if (c == '#') {
            while (p->at < p->end && *p->at != '\n' && *p->at != '\r')
                p->at++;
        } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
            p->at++;
        } else {
            break;
        }
    }
}

static void add_child(struct sl_gbnfscan *p, uint32_t parent, uint32_t child)
{
    p->g->nodes[child].sibling = p->g->nodes[parent].child;
    p->g->nodes[parent].child = child;
}

static int add_use(struct sl_gbnfscan *p, const char *ptr, uint32_t len, uint32_t index,
                   bool is_rule)
{
    if (sl_vector_grow(&p->uses, &p->uses_cap, p->n_uses, 1) < 0)
        return sl_gbnfscan_fail_memory(p);
    p->uses[p->n_uses++] = (struct sl_gbnfscan_use){ptr, len, index, is_rule};
    return 0;
}

static int parse_name(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    const char *start = p->at;
    int r;

    while (p->at < p->end && is_name_char(*p->at))
        p->at++;
    r = sl_gbnfscan_node(p, SL_GBNF_RULE, 0, 0, ret_node);
    return r < 0 ? r : add_use(p, start, (uint32_t)(p->at - start), *ret_node, false);
}

static int parse_choice(struct sl_gbnfscan *p, uint32_t *ret_node);

static int parse_group(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    int r;

    if (p->depth == SL_GBNF_DEPTH_MAX)
        return sl_gbnfscan_fail(p, p->at, -E2BIG, "more than 200 groups within each other");
    p->depth++;
    p->at++;
    skip_space(p, true);
    r = parse_choice(p, ret_node);
    if (r < 0)
        return r;
    if (!sl_gbnfscan_at(p, ')'))
        return sl_gbnfscan_fail_expected(p, "an item, | or )");
    p->at++;
    p->depth--;
    return 0;
}

/* An item if one begins here: 1, otherwise 0. */
static int parse_item(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    int r;

    if (p->at == p->end)
        return 0;
    switch (*p->at) {
    case '"': r = sl_gbnfscan_literal(p, ret_node); break;
    case '[': r = sl_gbnfscan_class(p, ret_node); break;
    case '.': r = sl_gbnfscan_any(p, ret_node); break;
    case '<': r = sl_gbnfscan_token(p, ret_node); break;
    case '(': r = parse_group(p, ret_node); break;
    case '!':
        return sl_gbnfscan_fail(p, p->at, -ENOTSUP,
                                "negated tokens are not supported; . does not match special "
                                "tokens, so .* ends at any of them");
    default:
        if (!is_name_char(*p->at))
            return 0;
        r = parse_name(p, ret_node);
    }
    return r < 0 ? r : 1;
}

/* What stands in braces. */
static int parse_bounds(struct sl_gbnfscan *p, uint32_t *ret_min, uint32_t *ret_max)
{
    const char *start = p->at++;
    int r;

    skip_space(p, false);
    r = sl_gbnfscan_number(p, "a number of repetitions", SL_GBNF_REPEAT_MAX, ret_min);
    if (r < 0)
        return r;
    skip_space(p, false);
    *ret_max = *ret_min;
    if (sl_gbnfscan_at(p, ',')) {
        p->at++;
        skip_space(p, false);
        *ret_max = SL_GBNF_NONE;
        if (!sl_gbnfscan_at(p, '}')) {
            r = sl_gbnfscan_number(p, "a number of repetitions or }", SL_GBNF_REPEAT_MAX, ret_max);
            if (r < 0)
                return r;
            skip_space(p, false);
        }
    }
    if (!sl_gbnfscan_at(p, '}'))
        return sl_gbnfscan_fail_expected(p, *ret_max == *ret_min ? ", or }" : "}");
    p->at++;
    if (*ret_max < *ret_min)
        return sl_gbnfscan_fail(p, start, -EBADMSG,
                                "expected {least,most} repetitions, found a most below the least");
    return 0;
}

/* 1 if the item at *node is repeated, then *node is the repetition; 0 if not. */
static int parse_repeat(struct sl_gbnfscan *p, uint32_t *node)
{
    uint32_t min = 0, max = SL_GBNF_NONE, repeat;
    char c = p->at < p->end ? *p->at : '\0';
    int r;

    if (c == '{') {
        r = parse_bounds(p, &min, &max);
        if (r < 0)
            return r;
    } else if (c == '*' || c == '+' || c == '?') {
        min = c == '+';
        max = c == '?' ? 1 : SL_GBNF_NONE;
        p->at++;
    } else {
        return 0;
    }
    r = sl_gbnfscan_node(p, SL_GBNF_REPEAT, min, max, &repeat);
    if (r < 0)
        return r;
    add_child(p, repeat, *node);
    *node = repeat;
    return 1;
}

static int parse_sequence(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    uint32_t sequence = SL_GBNF_NONE, item = 0, n_repeats;
    int r = sl_gbnfscan_node(p, SL_GBNF_SEQUENCE, 0, 0, &sequence);

    while (r >= 0) {
        r = parse_item(p, &item);
        if (r <= 0)
            break;
        skip_space(p, p->depth > 0);
        for (n_repeats = 0; (r = parse_repeat(p, &item)) > 0; n_repeats++) {
            if (n_repeats == 8)
                return sl_gbnfscan_fail(p, p->at, -E2BIG, "more than 8 repetitions of one item");
            skip_space(p, p->depth > 0);
        }
        if (r == 0)
            add_child(p, sequence, item);
    }
    *ret_node = sequence;
    return r;
}

static int parse_choice(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    uint32_t choice = SL_GBNF_NONE, sequence = SL_GBNF_NONE;
    int r;

    r = sl_gbnfscan_node(p, SL_GBNF_CHOICE, 0, 0, &choice);
    while (r == 0) {
        r = parse_sequence(p, &sequence);
        if (r < 0)
            break;
        add_child(p, choice, sequence);
        if (!sl_gbnfscan_at(p, '|'))
            break;
        p->at++;
        skip_space(p, true);
    }
    *ret_node = choice;
    return r;
}

static int parse_rule(struct sl_gbnfscan *p)
{
    struct sl_gbnf *g = p->g;
    struct sl_gbnf_rule rule = {.name_off = (uint32_t)(p->at - p->text)};
    const char *start = p->at;
    int r;

    while (p->at < p->end && is_name_char(*p->at))
        p->at++;
    rule.name_len = (uint32_t)(p->at - start);
    if (rule.name_len == 0)
        return sl_gbnfscan_fail_expected(p, "the name of a rule");
    skip_space(p, false);
    if (p->end - p->at < 3 || memcmp(p->at, "::=", 3) != 0)
        return sl_gbnfscan_fail_expected(p, "::= behind the name of a rule");
    p->at += 3;
    skip_space(p, true);
    r = parse_choice(p, &rule.body);
    if (r < 0)
        return r;
    if (p->at < p->end && *p->at != '\n' && *p->at != '\r')
        return sl_gbnfscan_fail_expected(p, "an item, | or the end of the line");
    if (sl_vector_grow(&g->rules, &p->rules_cap, g->n_rules, 1) < 0)
        return sl_gbnfscan_fail_memory(p);
    g->rules[g->n_rules] = rule;
    r = add_use(p, start, rule.name_len, g->n_rules++, true);
    skip_space(p, true);
    return r;
}

/* By name; the definition first. */
static int by_name(const void *pa, const void *pb)
{
    const struct sl_gbnfscan_use *a = pa, *b = pb;
    int c = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);

    if (c == 0 && a->len != b->len)
        c = a->len < b->len ? -1 : 1;
    if (c == 0 && a->is_rule != b->is_rule)
        c = a->is_rule ? -1 : 1;
    return c ? c : (a->ptr > b->ptr) - (a->ptr < b->ptr);
}

static bool same_name(const struct sl_gbnfscan_use *a, const struct sl_gbnfscan_use *b)
{
    return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

/* Give every use its rule. */
static int resolve(struct sl_gbnfscan *p)
{
    struct sl_gbnf *g = p->g;
    const struct sl_gbnfscan_use *rule = NULL;
    char what[120];

    if (p->n_uses)
        qsort(p->uses, p->n_uses, sizeof(*p->uses), by_name);
    for (uint32_t i = 0; i < p->n_uses; i++) {
        const struct sl_gbnfscan_use *use = &p->uses[i];
        bool known = rule && same_name(rule, use);

        if (use->is_rule && known) {
            unsigned line, col;

            sl_gbnfscan_locate(p, rule->ptr, &line, &col);
            (void)snprintf(what, sizeof(what), "rule \"%.*s\" is there already, on line %u",
                           (int)(use->len < 60 ? use->len : 60), use->ptr, line);
            return sl_gbnfscan_fail(p, use->ptr, -EBADMSG, what);
        }
        if (!use->is_rule && !known) {
            (void)snprintf(what, sizeof(what), "expected the name of a rule, found \"%.*s\", "
                           "which none has", (int)(use->len < 60 ? use->len : 60), use->ptr);
            return sl_gbnfscan_fail(p, use->ptr, -EBADMSG, what);
        }
        if (!use->is_rule) {
            g->nodes[use->index].a = rule->index;
            continue;
        }
        rule = use;
        if (use->len == 4 && memcmp(use->ptr, "root", 4) == 0)
            g->root = use->index;
    }
    if (g->root == SL_GBNF_NONE)
        return sl_diag_set(p->diag, -EBADMSG, "the grammar has no rule called \"root\"");
    return 0;
}

/* Lines of the rules, in one pass. */
static void number_lines(const struct sl_gbnfscan *p)
{
    const char *at = p->text;
    uint32_t line = 1;

    for (uint32_t i = 0; i < p->g->n_rules; i++) {
        for (; at < p->text + p->g->rules[i].name_off; at++)
            line += *at == '\n';
        p->g->rules[i].line = line;
    }
}

int sl_gbnf_parse(struct sl_gbnf *ret_gbnf, const char *text, size_t len, struct sl_diag *diag)
{
    struct sl_gbnf gbnf = {.root = SL_GBNF_NONE};
    struct sl_gbnfscan p = {.text = text, .at = text, .end = text + len, .g = &gbnf, .diag = diag};
    int r = 0;

    if (len > SL_GBNF_TEXT_MAX)
        return sl_diag_set(diag, -E2BIG, "grammar of %zu bytes: at most %u", len,
                           SL_GBNF_TEXT_MAX);
    skip_space(&p, true);
    while (p.at < p.end && r == 0)
        r = parse_rule(&p);
    if (r == 0)
        r = resolve(&p);
    free(p.uses);
    if (r < 0) {
        sl_gbnf_done(&gbnf);
        return r;
    }
    number_lines(&p);
    *ret_gbnf = gbnf;
    return 0;
}

void sl_gbnf_done(struct sl_gbnf *gbnf)
{
    free(gbnf->nodes);
    free(gbnf->ranges);
    free(gbnf->rules);
    free(gbnf->tokens);
    free(gbnf->bytes);
}
