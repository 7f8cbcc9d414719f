/*
 * Runs a fuzz target on files, without libFuzzer: the corpus as a test for every
 * compiler. Arguments are files or folders of files.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    struct stat st;

    if (!f || fstat(fileno(f), &st) < 0) {
        perror(path);
        return 1;
    }
    /* Exactly as large as the input, so that a sanitizer sees reads beyond it. */
    data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    if (!data || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
        perror(path);
        free(data);
        fclose(f);
        return 1;
    }
    fclose(f);
    printf("%s\n", path);
    fflush(stdout); /* the last name printed is the one that crashed */
    (void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    free(data);
    return 0;
}

/* Returns the number of files that could not be read; counts the others. */
static int replay_folder(const char *folder, int *n_files)
{
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    int n_bad = 0;

    if (n < 0) {
        perror(folder);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            n_bad += replay_file(path);
            (*n_files)++;
        }
        free(names[i]);
    }
    free(names);
    return n_bad;
}

int main(int argc, char **argv)
{
    int n_files = 0;
    int n_bad = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            n_bad += replay_folder(argv[i], &n_files);
        } else {
            n_bad += replay_file(argv[i]);
            n_files++;
        }
    }
    printf("%d files\n", n_files);
    return n_files > 0 && n_bad == 0 ? 0 : 1;
}
