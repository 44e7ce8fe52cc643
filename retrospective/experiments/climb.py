"""From a first guess to a server's peak."""

from __future__ import annotations

from collections.abc import Callable

from retrospective.lab.plan import place_by_ratio

#: The climb to a peak ends when a server answers less than this share of what it is offered.
KEPT_UP = 0.97
#: And goes on by this factor while it keeps up.
STEP = 1.15


def climb(offered: Callable[[float], float], target: float, steps: int) -> float:
    """Peak of a server, replies/s; ``offered`` returns what it answers when it is offered so many requests/s.

    A climb from ``target``, or from what that yielded, until the server no longer keeps up with what it is offered,
    or the client gives out (``RuntimeError``), or ``steps`` have been tried.
    """
    peak = 0.0
    for _ in range(steps):
        try:
            replies_per_s = offered(target)
        except RuntimeError:
            if peak:  # the client gave out first: known as well as it can be
                break
            # On a slower machine than ours the client may not keep up with the first guess.
            target /= 2
            replies_per_s = offered(target)
        kept_up = replies_per_s >= KEPT_UP * target
        climbing, peak = peak > 0, max(peak, replies_per_s)
        if peak <= 0 or (climbing and not kept_up):
            break
        target = place_by_ratio(peak, (STEP,))[0]
    return peak
