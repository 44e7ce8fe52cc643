"""The claims of 2004 and of today, one file a theme, and the ledger that judges them.

``claim.py`` says what a claim is; ``userver.py``, ``tux.py`` and ``knot.py`` hold what 2004 said of each
kind of server, ``servers.py`` what it said of all of them, ``extensions.py`` the questions of today;
``lazy.py`` is what the second paper said of calls and ``lazy_today.py`` the questions beside it,
``lazy_servers.py`` both of servers; ``timers.py`` is what was said of timers before and ``timers_today.py`` the
questions beside it; ``userstack.py`` is what the third paper said, and what is promised of our stack; ``ledger.py``
tests them and finds the verdicts.
"""

from retrospective.analysis.claims.claim import Claim
from retrospective.analysis.claims.ledger import claims, ledger

__all__ = ["Claim", "claims", "ledger"]
