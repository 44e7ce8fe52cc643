/* poison.h: all of the stack's memory is one allocation, so the address sanitizer is told where in it nobody may read or
 * write: between its parts, and in blocks that are free. Without a sanitizer nothing of this is there. */
#ifndef NAI_STACK_POISON_H
#define NAI_STACK_POISON_H

#ifdef __SANITIZE_ADDRESS__ /* gcc; clang asks by __has_feature */
#define STACK_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_POISONS 1
#endif
#endif

#ifdef STACK_POISONS
#include <sanitizer/asan_interface.h>
enum { POISON_GAP = 64 }; /* bytes behind each part */
#define POISON(p, bytes) ASAN_POISON_MEMORY_REGION(p, bytes)
#define UNPOISON(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#else
enum { POISON_GAP = 0 };
#define POISON(p, bytes) ((void)0)
#define UNPOISON(p, bytes) ((void)0)
#endif

#endif
