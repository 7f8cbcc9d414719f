/*
 * mkdoc: man pages and completions, made from the table of commands of the very program that
 * they are for. The build runs it (doc/meson.build).
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/doc.h"

static int fail(const char *path, int code)
{
    fprintf(stderr, "mkdoc: %s: %s\n", path, sl_err_text(code));
    return code;
}

static int write_text(const char *path, struct sl_strbuf *text)
{
    FILE *file = text->error ? NULL : fopen(path, "w");
    int r = text->error;

    if (!file)
        return fail(path, r ? r : -errno);
    if (fwrite(text->ptr, 1, text->len, file) != text->len)
        r = -EIO;
    if (fclose(file) != 0)
        r = -EIO;
    return r < 0 ? fail(path, r) : 0;
}

/* Pages of commands that are there no more must not be installed. */
static int empty_folder(const char *path)
{
    DIR *dir;

    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        return fail(path, -errno);
    dir = opendir(path);
    if (!dir)
        return fail(path, -errno);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        size_t len = strlen(e->d_name);

        if (len > 2 && !strcmp(e->d_name + len - 2, ".1"))
            (void)unlinkat(dirfd(dir), e->d_name, 0); /* writing it shows what is wrong */
    }
    closedir(dir);
    return 0;
}

static int write_page(const char *folder, const struct doc_page *page,
                      const struct sl_command *command)
{
    struct sl_strbuf text = {0};
    struct sl_diag diag = {""};
    char *path = NULL;
    int r = doc_man_add(&text, page, command, &diag);

    if (r < 0)
        fprintf(stderr, "mkdoc: %s\n", diag.text[0] ? diag.text : sl_err_text(r));
    else if (asprintf(&path, "%s/sluice%s%s.1", folder, command ? "-" : "",
                      command ? command->name : "") < 0)
        r = fail(folder, -ENOMEM);
    else
        r = write_text(path, &text);
    free(path);
    sl_strbuf_done(&text);
    return r;
}

static int write_pages(const char *folder, const char *parts, const char *date)
{
    struct doc_page page = {.parts = parts, .date = date};
    int r = empty_folder(folder);

    if (r == 0)
        r = write_page(folder, &page, NULL);
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++)
        r = write_page(folder, &page, c);
    return r;
}

static int write_completion(const char *shell, const char *path)
{
    struct sl_strbuf text = {0};
    int r = !strcmp(shell, "bash") ? doc_bash_add(&text)
            : !strcmp(shell, "zsh") ? doc_zsh_add(&text)
                                    : doc_fish_add(&text);

    r = r < 0 ? fail(path, r) : write_text(path, &text);
    sl_strbuf_done(&text);
    return r;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "man"))
        return write_pages(argv[2], argv[3], argv[4]) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (argc == 3 && (!strcmp(argv[1], "bash") || !strcmp(argv[1], "zsh") ||
                      !strcmp(argv[1], "fish")))
        return write_completion(argv[1], argv[2]) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    fputs("Usage: mkdoc man FOLDER PARTS DATE\n       mkdoc bash|zsh|fish FILE\n", stderr);
    return 2;
}
