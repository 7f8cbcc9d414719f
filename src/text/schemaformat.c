/* Formats as patterns in the notation of schemaregex.h. Sources: RFC 3339 (dates, times,
 * durations in appendix A), RFC 5322 and 1123 (mail, host names), RFC 4291, 3986, 9562. */
#include "text/schemaformat.h"

#include <stddef.h>
#include <string.h>

#define YEAR "([1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])"
#define LEAP_YEAR                                                                             \
    "(\\d\\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                                  \
    "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|"     \
    "02-(0[1-9]|1\\d|2[0-8]))|" LEAP_YEAR "-02-29)"
#define TIME                                                                                  \
    "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define CLOCK "T(\\d{1,9}H(\\d{1,9}M(\\d{1,9}S)?)?|\\d{1,9}M(\\d{1,9}S)?|\\d{1,9}S)"
#define DAYS                                                                                  \
    "(\\d{1,9}Y(\\d{1,9}M(\\d{1,9}D)?)?|\\d{1,9}M(\\d{1,9}D)?|\\d{1,9}D)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST  LABEL "(\\." LABEL "){0,3}" /* four labels of 63: at most 255 */
#define MAIL  "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
#define BYTE  "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define H     "[0-9A-Fa-f]{1,4}"
#define HEX4  "[0-9A-Fa-f]{4}"

static const struct {
    const char *name;
    const char *pattern; /* NULL: not supported */
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"duration", "^P(\\d{1,9}W|" DAYS "(" CLOCK ")?|" CLOCK ")$"},
    {"email", "^" MAIL "(\\." MAIL ")*@" HOST "$"},
    {"hostname", "^" HOST "$"},
    {"ipv4", "^" BYTE "\\." BYTE "\\." BYTE "\\." BYTE "$"},
    {"ipv6", "^((" H ":){7}" H "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){2}|(" H
             ":){1,4}(:" H "){3}|(" H ":){1,3}(:" H "){4}|(" H ":){1,2}(:" H "){5}|" H ":(:" H
             "){6}|:((:" H "){1,7}|:))$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]*:(//[A-Za-z0-9._~!$&'()*+,;=:@-]+)?"
            "([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+"
            "(\\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
            "(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$"},
    {"uuid", "^" HEX4 HEX4 "(-" HEX4 "){4}" HEX4 HEX4 "$"},
    {"idn-email", NULL},
    {"idn-hostname", NULL},
    {"iri", NULL},
    {"iri-reference", NULL},
    {"json-pointer", NULL},
    {"regex", NULL},
    {"relative-json-pointer", NULL},
    {"uri-reference", NULL},
    {"uri-template", NULL},
};

enum sl_schemaformat sl_schemaformat_find(const char *name, const char **ret_pattern)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strcmp(formats[i].name, name) == 0) {
            *ret_pattern = formats[i].pattern;
            return formats[i].pattern ? SL_SCHEMAFORMAT_ENFORCED : SL_SCHEMAFORMAT_UNSUPPORTED;
        }
    return SL_SCHEMAFORMAT_REMARK;
}
