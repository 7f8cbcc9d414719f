/*
 * The "format" keyword. As the standard has it, a format is a remark unless a validator
 * chooses to check it; those that can be written as an expression are enforced. Used by
 * the schema compiler only.
 *
 *   enforced: date, time, date-time, duration, email, hostname, ipv4, ipv6, uri, uuid.
 *     A subset of what their definitions allow: upper-case T and Z, years 0001 to 9999,
 *     no leap seconds, up to nine digits of a second, no quoted mail names, whole IPv6
 *     addresses without an IPv4 part, absolute URIs in ASCII.
 *   not supported: the standard's other ones, which a validator may check.
 *   remarks: all that the standard does not define (int32, float, password, binary ...).
 */
#pragma once

enum sl_schemaformat {
    SL_SCHEMAFORMAT_REMARK = 0,
    SL_SCHEMAFORMAT_ENFORCED,
    SL_SCHEMAFORMAT_UNSUPPORTED,
};

/* ret_pattern: static, for ENFORCED. */
enum sl_schemaformat sl_schemaformat_find(const char *name, const char **ret_pattern);
