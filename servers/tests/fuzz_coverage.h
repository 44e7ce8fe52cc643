/* fuzz_coverage.h: which edges of the code under test an input has run over, and which any has.
 *
 * Two basic blocks of one function, one after the other, are an edge. Across calls and returns the block alone counts, or
 * all ways in which callers and callees meet would be found to the end of days. */
#ifndef NAI_FUZZ_COVERAGE_H
#define NAI_FUZZ_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

#define COVERAGE_EDGES (1u << 17) /* places, hashed: so many that of a few thousand edges hardly two share one */

enum news { NOTHING, MORE_OFTEN, NEW_EDGE };

void coverage_begin(void);                        /* an input */
enum news coverage_news(uint32_t *edges);         /* of this input; its new edges are counted, and are new no more */
void coverage_forget(void);                       /* all that any input has reached */
uint32_t coverage_unseen(uint32_t *places);       /* of this input, what coverage_news() would find new; how many */
bool coverage_has(const uint32_t *places, uint32_t count); /* whether this input ran over all of them */

#endif
