/* borrowed.h: memory that a call points to, and that may not be there: that is for the kernel to say (EFAULT). */
#ifndef NAI_BORROWED_H
#define NAI_BORROWED_H

#include <stdbool.h>
#include <stddef.h>

/* false: it is not there. */
bool borrowed_copy(void *to, const void *from, size_t bytes);

/* Returns the bytes of the string with its end, at most PATH_MAX, or 0: it is not there, or is longer. */
size_t borrowed_path(char *to, const char *from);

#endif
