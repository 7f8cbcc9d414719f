/*
 * Patterns: parsed to a tree, the anchors at the ends taken off or "any text" put there
 * instead, lengths reconciled, printed as expressions.
 *
 *     choice   = sequence { "|" sequence }
 *     sequence = { atom [ "*" | "+" | "?" | "{m,n}" ] [ "?" ] }
 *     atom     = character | "." | class | escape | "^" | "$" | "(" choice ")"
 *
 * The tree's leaves are sets of code points as sorted ranges. Groups are the only
 * recursion, and their depth is bounded.
 */
#include "text/schemaregex.h"

#include <errno.h>
#include <string.h>

#include "text/ebnfjson.h"
#include "text/regexset.h"

#define DEPTH_MAX 32u
#define LEN_MAX   0x40000000u /* lengths from here on count as endless */

enum kind {
    SEQ = 0,
    CHOICE,
    SET,
    REPEAT,
    START, /* ^ */
    END,   /* $ */
};

struct node {
    enum kind kind;
    struct sl_regexset set;    /* SET */
    uint32_t min, max;         /* REPEAT; max may be SL_EBNF_NO_MAX */
    uint32_t min_len, max_len; /* code points of what it matches; max_len LEN_MAX: endless */
    struct node *first, *last, *next;
};

struct parser {
    struct sl_ebnf *e;
    const char *text;
    size_t len, pos;
    uint32_t depth;
    int error;
    struct sl_diag *diag;
    struct node empty; /* what failed allocations give; never written to */
};

static struct node *node_new(struct parser *p, enum kind kind)
{
    struct node *node = sl_ebnf_alloc(p->e, sizeof(*node));

    if (!node) {
        p->error = p->e->error;
        return &p->empty;
    }
    node->kind = kind;
    return node;
}

static void append(struct parser *p, struct node *parent, struct node *child)
{
    if (p->error)
        return;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static void refuse(struct parser *p, int code, const char *what)
{
    if (!p->error)
        p->error = sl_diag_set(p->diag, code, "pattern, at byte %zu: %s", p->pos, what);
}

static bool at(const struct parser *p, char c)
{
    return p->pos < p->len && p->text[p->pos] == c;
}

static bool take(struct parser *p, const char *word)
{
    size_t len = strlen(word);

    if (p->len - p->pos < len || memcmp(p->text + p->pos, word, len) != 0)
        return false;
    p->pos += len;
    return true;
}

/* Digits at *pos, if any; more than LEN_MAX counts as that. */
static bool scan_number(const struct parser *p, size_t *pos, uint32_t *ret)
{
    size_t start = *pos;
    uint64_t n = 0;

    for (; *pos < p->len && p->text[*pos] >= '0' && p->text[*pos] <= '9'; ++*pos)
        n = n < LEN_MAX ? n * 10 + (uint64_t)(p->text[*pos] - '0') : n;
    *ret = n < LEN_MAX ? (uint32_t)n : LEN_MAX;
    return *pos > start;
}

/* {m}, {m,} or {m,n}; false and nothing taken when it is none, but a brace. */
static bool take_counts(struct parser *p, uint32_t *ret_min, uint32_t *ret_max)
{
    size_t pos = p->pos + 1;

    if (!at(p, '{') || !scan_number(p, &pos, ret_min))
        return false;
    *ret_max = *ret_min;
    if (pos < p->len && p->text[pos] == ',') {
        pos++;
        if (!scan_number(p, &pos, ret_max))
            *ret_max = SL_EBNF_NO_MAX;
    }
    if (pos >= p->len || p->text[pos] != '}')
        return false;
    p->pos = pos + 1;
    return true;
}

static struct node *parse_choice(struct parser *p);

static struct node *parse_group(struct parser *p)
{
    struct node *node = &p->empty;

    if (take(p, "?")) {
        if (take(p, "<") && !at(p, '=') && !at(p, '!')) {
            while (p->pos < p->len && !at(p, '>'))
                p->pos++;
            p->pos += at(p, '>');
        } else if (!take(p, ":")) {
            refuse(p, -ENOTSUP, "looking ahead or behind, or flags, are not supported");
        }
    }
    if (++p->depth > DEPTH_MAX)
        refuse(p, -ENOTSUP, "groups are nested too deeply");
    if (!p->error)
        node = parse_choice(p);
    p->depth--;
    if (!p->error && !take(p, ")"))
        refuse(p, -EBADMSG, "a group is not closed");
    return node;
}

static struct node *parse_atom(struct parser *p)
{
    struct node *node;
    const char *what = NULL;
    int r;

    if (take(p, "("))
        return parse_group(p);
    if (take(p, "^"))
        return node_new(p, START);
    if (take(p, "$"))
        return node_new(p, END);
    node = node_new(p, SET);
    if (p->error)
        return node;
    r = sl_regexset_parse(p->e, p->text, p->len, &p->pos, &node->set, &what);
    if (r < 0 && p->e->error)
        p->error = p->e->error;
    else if (r < 0)
        refuse(p, r, what);
    return node;
}

static struct node *parse_item(struct parser *p)
{
    struct node *atom, *repeat;
    const size_t start = p->pos;
    uint32_t min, max;

    if (at(p, '*') || at(p, '+') || at(p, '?') || take_counts(p, &min, &max)) {
        p->pos = start;
        refuse(p, -EBADMSG, "nothing to repeat");
        return &p->empty;
    }
    min = max = 1;
    atom = parse_atom(p);
    if (take(p, "*")) {
        min = 0;
        max = SL_EBNF_NO_MAX;
    } else if (take(p, "+")) {
        max = SL_EBNF_NO_MAX;
    } else if (take(p, "?")) {
        min = 0;
    } else if (!take_counts(p, &min, &max)) {
        return atom;
    }
    (void)take(p, "?"); /* lazy: matches the same strings */
    if (min > max)
        refuse(p, -EBADMSG, "the numbers of {m,n} are out of order");
    if (!p->error && (atom->kind == START || atom->kind == END))
        refuse(p, -ENOTSUP, "a repeated anchor");
    repeat = node_new(p, REPEAT);
    if (p->error)
        return repeat;
    repeat->min = min;
    repeat->max = max;
    append(p, repeat, atom);
    return repeat;
}

static struct node *parse_choice(struct parser *p)
{
    struct node *choice = node_new(p, CHOICE);

    do {
        struct node *seq = node_new(p, SEQ);

        while (!p->error && p->pos < p->len && !at(p, '|') && !at(p, ')'))
            append(p, seq, parse_item(p));
        append(p, choice, seq);
    } while (!p->error && take(p, "|"));
    return choice;
}

/* Whether all (1), none (0) or some (-1) of the ways through node begin or end with the
 * anchor. */
static int anchored(const struct node *node, enum kind anchor)
{
    int all = -2;

    if (node->kind == anchor)
        return 1;
    if (node->kind == SEQ) {
        if (!node->first)
            return 0;
        return anchored(anchor == START ? node->first : node->last, anchor);
    }
    if (node->kind != CHOICE)
        return 0;
    for (const struct node *c = node->first; c; c = c->next) {
        int one = anchored(c, anchor);

        all = all == -2 || all == one ? one : -1;
    }
    return all;
}

/* Make the anchor that every way through node begins or ends with match nothing more. */
static void strip(struct node *node, enum kind anchor)
{
    if (node->kind == anchor)
        node->kind = SEQ; /* an empty one */
    else if (node->kind == SEQ)
        strip(anchor == START ? node->first : node->last, anchor);
    else
        for (struct node *c = node->first; c; c = c->next)
            strip(c, anchor);
}

static struct node *any_text(struct parser *p)
{
    struct node *repeat = node_new(p, REPEAT), *set = node_new(p, SET);

    if (p->error)
        return repeat;
    set->set = sl_regexset_all();
    repeat->max = SL_EBNF_NO_MAX;
    append(p, repeat, set);
    return repeat;
}

/* One alternative of the whole pattern: where it has no anchor, any text. */
static struct node *anchor_sequence(struct parser *p, struct node *seq)
{
    struct node *whole = node_new(p, SEQ);
    int start = anchored(seq, START), end = anchored(seq, END);

    if (start < 0 || end < 0)
        refuse(p, -ENOTSUP, "an anchor that only some alternatives of a group have");
    if (p->error)
        return whole;
    if (start)
        strip(seq, START);
    else
        append(p, whole, any_text(p));
    if (end)
        strip(seq, END);
    seq->next = NULL;
    append(p, whole, seq);
    if (!end)
        append(p, whole, any_text(p));
    return whole;
}

static struct node *anchor_all(struct parser *p, struct node *choice)
{
    struct node *all = node_new(p, CHOICE), *next;

    for (struct node *seq = choice->first; seq && !p->error; seq = next) {
        next = seq->next;
        append(p, all, anchor_sequence(p, seq));
    }
    return all;
}

static uint32_t capped(uint64_t n)
{
    return n < LEN_MAX ? (uint32_t)n : LEN_MAX;
}

static bool is_nullable(const struct node *node)
{
    return node->min_len == 0 && node->max_len > 0;
}

/* Cut the empty text out of a node that may match it: the part of a repetition. False if
 * that would take several copies of its parts. */
static bool make_nonempty(struct node *node)
{
    if (node->min_len > 0)
        return true;
    node->min_len = 1;
    if (node->max_len == 0) { /* as (b|c){0}: nothing is left */
        *node = (struct node){.kind = CHOICE, .next = node->next};
        return true;
    }
    if (node->kind == REPEAT) {
        node->min = node->min > 1 ? node->min : 1;
        return make_nonempty(node->first);
    }
    if (node->kind == SEQ) {
        if (node->first && node->first == node->last)
            return make_nonempty(node->first);
        node->kind = node->first ? SEQ : CHOICE; /* an empty choice: nothing */
        return !node->first;
    }
    for (struct node *c = node->first; c; c = c->next)
        if (!make_nonempty(c))
            return false;
    return true;
}

/* Lengths bottom-up; on the way anchors that are left over are refused, and repetitions
 * get parts that are not empty, for a grammar may not repeat the empty text. */
static void measure(struct parser *p, struct node *node)
{
    uint64_t min = node->kind == CHOICE ? LEN_MAX : 0, max = 0;

    for (struct node *c = node->first; c && !p->error; c = c->next) {
        measure(p, c);
        if (node->kind == CHOICE) {
            min = c->min_len < min ? c->min_len : min;
            max = c->max_len > max ? c->max_len : max;
        } else {
            min += c->min_len;
            max += c->max_len;
        }
    }
    if (node->kind == START || node->kind == END)
        refuse(p, -ENOTSUP, "^ and $ are supported at the ends only");
    if (p->error)
        return;
    if (node->kind == SET)
        min = max = 1;
    if (node->kind == REPEAT && node->first->min_len == 0 && node->first->max_len == 0)
        *node = (struct node){.kind = SEQ, .next = node->next};
    if (node->kind == REPEAT && node->max > 1 && is_nullable(node->first)) {
        if (!make_nonempty(node->first))
            refuse(p, -ENOTSUP, "a repetition of parts that may all be empty");
        node->min = 0;
    }
    if (node->kind == REPEAT) {
        min = min * node->min;
        max = max == 0 ? 0 : max * node->max;
    }
    node->min_len = capped(min);
    node->max_len = capped(max);
}

/*
 * Narrow node to texts of lo to hi code points (hi LEN_MAX: any number). False if that
 * cannot be said by changing one repetition. A choice of nothing matches no text.
 */
static bool narrow(struct node *node, uint32_t lo, uint32_t hi)
{
    struct node *varying = NULL;
    uint32_t fixed = 0;

    if (node->min_len >= lo && node->max_len <= hi)
        return true;
    if (node->max_len < lo || node->min_len > hi) {
        *node = (struct node){.kind = CHOICE, .next = node->next};
        return true;
    }
    if (node->kind == REPEAT) {
        uint32_t each = node->first->min_len, min, max;

        if (node->max == 1) {
            node->min = lo > 0 ? 1 : node->min;
            return narrow(node->first, lo, hi);
        }
        if (each == 0 || node->first->max_len != each)
            return false;
        min = (lo + each - 1) / each;
        max = hi >= LEN_MAX ? SL_EBNF_NO_MAX : hi / each;
        node->min = min > node->min ? min : node->min;
        node->max = max < node->max ? max : node->max;
        if (node->min > node->max)
            *node = (struct node){.kind = CHOICE, .next = node->next};
        return true;
    }
    if (node->kind == CHOICE) {
        for (struct node *c = node->first; c; c = c->next)
            if (!narrow(c, lo, hi))
                return false;
        return true;
    }
    for (struct node *c = node->first; c; c = c->next)
        if (c->min_len != c->max_len) {
            if (varying)
                return false;
            varying = c;
        } else {
            fixed += c->min_len;
        }
    if (!varying) /* endless by itself */
        return false;
    return narrow(varying, lo > fixed ? lo - fixed : 0, hi >= LEN_MAX ? hi : hi - fixed);
}

static struct sl_ebnf_expr *emit(struct parser *p, const struct node *node);

/* Neighbours of one character each become one literal. */
static struct sl_ebnf_expr *emit_sequence(struct parser *p, const struct node *node)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(p->e);
    struct sl_strbuf text = {0};

    for (const struct node *c = node->first; c && !p->e->error; c = c->next) {
        bool single = c->kind == SET && sl_regexset_print_single(&c->set, &text);

        if (text.len && (!single || !c->next)) {
            sl_ebnf_add(p->e, seq, sl_ebnfjson_text(p->e, text.ptr, text.len));
            sl_strbuf_cut(&text, 0);
        }
        if (!single)
            sl_ebnf_add(p->e, seq, emit(p, c));
    }
    if (text.error && !p->e->error)
        p->e->error = text.error;
    sl_strbuf_done(&text);
    return seq;
}

static struct sl_ebnf_expr *emit(struct parser *p, const struct node *node)
{
    struct sl_ebnf_expr *alt, *child;

    switch (node->kind) {
    case SET: return sl_ebnfjson_class(p->e, node->set.ranges, node->set.n);
    case CHOICE:
        alt = sl_ebnf_alt(p->e);
        for (const struct node *c = node->first; c && !p->e->error; c = c->next)
            sl_ebnf_add(p->e, alt, emit(p, c));
        return alt;
    case REPEAT:
        child = emit(p, node->first);
        if (node->min <= SL_EBNF_REPEAT_ONE &&
            (node->max <= SL_EBNF_REPEAT_ONE || node->max == SL_EBNF_NO_MAX))
            return sl_ebnf_repeat(p->e, child, node->min, node->max);
        return sl_ebnf_repeat_rule(p->e, sl_ebnf_rule_of(p->e, child), node->min, node->max);
    default: return emit_sequence(p, node);
    }
}

int sl_schemaregex_compile(struct sl_ebnf *e, const char *pattern, size_t len, uint32_t min_len,
                           uint32_t max_len, struct sl_ebnf_expr **ret_expr,
                           struct sl_diag *diag)
{
    struct parser p = {.e = e, .text = pattern, .len = len, .diag = diag};
    uint32_t lo = min_len < LEN_MAX ? min_len : LEN_MAX - 1;
    uint32_t hi = max_len < LEN_MAX ? max_len : LEN_MAX;
    struct node *node;

    if (len > SL_SCHEMAREGEX_BYTES_MAX)
        return sl_diag_set(diag, -E2BIG, "a pattern of %zu bytes, at most %u are taken", len,
                           SL_SCHEMAREGEX_BYTES_MAX);
    node = parse_choice(&p);
    if (!p.error && p.pos < len)
        refuse(&p, -EBADMSG, "a closing parenthesis without an opening one");
    if (!p.error)
        node = anchor_all(&p, node);
    if (!p.error)
        measure(&p, node);
    if (!p.error && !narrow(node, lo, hi))
        p.error = sl_diag_set(diag, -ENOTSUP,
                              "this pattern cannot be combined with minLength or maxLength");
    if (p.error)
        return p.error;
    *ret_expr = emit(&p, node);
    return e->error;
}
