/* Split files are named as llama.cpp's gguf-split does it: STEM-00001-of-00003.gguf. */
#include "store/modelfile.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "loader/gguf.h"

#define SPLIT_BYTES 15 /* -00001-of-00003 */

static bool ends_in(const char *name, size_t len, const char *ending)
{
    size_t n = strlen(ending);

    return len > n && !strncasecmp(name + len - n, ending, n);
}

/* Length of the name without an ending of a model, or 0. */
static size_t strip_model(const char *name, size_t len)
{
    if (ends_in(name, len, ".gguf"))
        return len - strlen(".gguf");
    if (ends_in(name, len, ".slpack"))
        return len - strlen(".slpack");
    return 0;
}

/* ... without one that downloaders add while they write, or 0. */
static size_t strip_partial(const char *name, size_t len)
{
    static const char *const endings[] = {
        ".part", ".partial", ".incomplete", ".downloadInProgress", ".crdownload", ".aria2", ".tmp",
    };

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (ends_in(name, len, endings[i]))
            return len - strlen(endings[i]);
    return 0;
}

/* Five digits, or -1. */
static int five_digits(const char *text)
{
    int value = 0;

    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

struct sl_modelfile_name sl_modelfile_parse(const char *name)
{
    struct sl_modelfile_name ret = {.kind = SL_MODELFILE_NONE, .part = 1, .n_parts = 1};
    size_t len = strlen(name);
    size_t whole = strip_partial(name, len);
    size_t stem = strip_model(name, whole ? whole : len);
    int part, n_parts;

    if (!stem || name[0] == '.')
        return ret;
    ret.kind = whole ? SL_MODELFILE_PARTIAL : SL_MODELFILE_MODEL;
    ret.stem_len = stem;
    if (stem <= SPLIT_BYTES || name[stem - SPLIT_BYTES] != '-' ||
        strncmp(name + stem - 9, "-of-", 4) != 0)
        return ret;
    part = five_digits(name + stem - SPLIT_BYTES + 1);
    n_parts = five_digits(name + stem - 5);
    if (part < 1 || n_parts < 2 || part > n_parts || n_parts > (int)SL_GGUF_SPLITS_MAX)
        return ret;
    ret.stem_len = stem - SPLIT_BYTES;
    ret.part = (uint32_t)part;
    ret.n_parts = (uint32_t)n_parts;
    return ret;
}

static bool is_type(const char *text, size_t len)
{
    static const char *const whole[] = {"F16", "F32", "F64", "BF16", "FP16", "FP32"};
    static const char *const begins[] = {"Q", "IQ", "TQ", "MXFP", "NVFP"};

    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        if (len == strlen(whole[i]) && !strncasecmp(text, whole[i], len))
            return true;
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        size_t n = strlen(begins[i]);

        if (len > n && !strncasecmp(text, begins[i], n) && isdigit((unsigned char)text[n]))
            return true;
    }
    return false;
}

size_t sl_modelfile_find_type(const char *stem, size_t len)
{
    size_t begin = len;

    while (begin > 0 && stem[begin - 1] != '-' && stem[begin - 1] != '.')
        begin--;
    return is_type(stem + begin, len - begin) ? begin : len;
}

bool sl_modelfile_has_tag(const char *stem, size_t len, const char *tag, size_t tag_len)
{
    if (tag_len == 0 || tag_len > len || strncasecmp(stem + len - tag_len, tag, tag_len) != 0)
        return false;
    return tag_len == len || strchr("-._", stem[len - tag_len - 1]);
}
