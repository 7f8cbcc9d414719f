/* A line of text that begins with a dot or an apostrophe would be a macro: \& goes before it. */
#include "tools/doc_text.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define COLUMNS 72u

/* A dash that is typed, and not one between words. */
static bool is_option(const char *word, size_t len)
{
    while (len > 1 && strchr("([\"{", *word)) {
        word++;
        len--;
    }
    return len > 1 && word[0] == '-';
}

void doc_text_add_word(struct sl_strbuf *out, const char *word, size_t len)
{
    sl_strbuf_add_str(out, "\\&");
    for (size_t i = 0; i < len; i++) {
        const char *escape = word[i] == '\\' ? "\\e" : word[i] == '"' ? "\\(dq"
                             : word[i] == '-' ? "\\-" : NULL;

        if (escape)
            sl_strbuf_add_str(out, escape);
        else
            sl_strbuf_add(out, word + i, 1);
    }
}

static void add_plain(struct sl_strbuf *out, const char *word, size_t len, bool is_first)
{
    bool is_typed = is_option(word, len);

    if (is_first && (word[0] == '.' || word[0] == '\''))
        sl_strbuf_add_str(out, "\\&");
    for (size_t i = 0; i < len; i++)
        if (word[i] == '\\')
            sl_strbuf_add_str(out, "\\e");
        else if (word[i] == '-' && is_typed)
            sl_strbuf_add_str(out, "\\-");
        else
            sl_strbuf_add(out, word + i, 1);
}

static bool ends_sentence(const char *word, size_t len, const char *next)
{
    while (len > 0 && strchr(")\"", word[len - 1]))
        len--;
    return len > 1 && word[len - 1] == '.' && word[len - 2] != '.' &&
           isupper((unsigned char)*next);
}

/* Between two words: a paragraph ends. */
static bool has_empty_line(const char *from, const char *to)
{
    int n = 0;

    for (; from < to; from++)
        n += *from == '\n';
    return n > 1 && *to;
}

void doc_text_add(struct sl_strbuf *out, const char *text)
{
    size_t column = 0;

    for (const char *word = text + strspn(text, " \n"); *word; ) {
        size_t len = strcspn(word, " \n");
        const char *next = word + len + strspn(word + len, " \n");

        if (column && column + 1 + len > COLUMNS) {
            sl_strbuf_add_str(out, "\n");
            column = 0;
        }
        if (column)
            sl_strbuf_add_str(out, " ");
        add_plain(out, word, len, column == 0);
        column += len + 1;
        if (!*next || ends_sentence(word, len, next) || has_empty_line(word + len, next)) {
            sl_strbuf_add_str(out, has_empty_line(word + len, next) ? "\n.Pp\n" : "\n");
            column = 0;
        }
        word = next;
    }
}

void doc_text_add_synopsis(struct sl_strbuf *out, const char *arguments)
{
    for (const char *word = arguments + strspn(arguments, " "); *word; ) {
        size_t len = strcspn(word, " ");
        bool is_optional = word[0] == '[' && word[len - 1] == ']';
        const char *inner = word + is_optional;
        size_t inner_len = len - 2 * is_optional, n_dots = 0;

        sl_strbuf_add_str(out, is_optional ? ".Op " : ".");
        if (inner_len > 3 && !strncmp(inner + inner_len - 3, "...", 3))
            n_dots = 3;
        if (inner[0] == '-') {
            sl_strbuf_add_str(out, "Fl ");
            inner++;
            inner_len--;
        } else {
            sl_strbuf_add_str(out, "Ar ");
        }
        doc_text_add_word(out, inner, inner_len - n_dots);
        sl_strbuf_add_str(out, n_dots ? " ...\n" : "\n");
        word += len + strspn(word + len, " ");
    }
}
