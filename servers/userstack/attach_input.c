/* attach_input.c: from an attachment to our stack. It stands alone so that another stack's program needs none of ours, whose
 * names may be the other's, too. */
#include "attach.h"

static void take_for_stack(void *stack, const uint8_t *frame, uint32_t bytes, unsigned flags)
{
    stack_input(stack, frame, bytes, flags);
}

unsigned attach_input(struct attachment *attachment, struct stack *stack, unsigned batch)
{
    stack_batch(stack);
    unsigned frames = attach_receive(attachment, take_for_stack, stack, batch);
    stack_batch_end(stack);
    return frames;
}
