/* A folder with proc/ and sys/ in it, made up for a test that reads them below a root. For
 * cmocka: one at a time. */
#pragma once

/* cmocka's setup and teardown. */
int madetree_make(void **state);
int madetree_remove(void **state);

const char *madetree_root(void);

/* Write a file ("/proc/meminfo"), with the folders that it needs. */
void madetree_put(const char *path, const char *text);
