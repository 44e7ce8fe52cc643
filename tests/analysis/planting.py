"""Effects planted in synthetic trials, for every test of claims: which rows, and by how much."""

import numpy as np
import pandas as pd

from retrospective.analysis.claims import ledger


def judge_of(claims):
    """Return a function that judges some trials by the name of one of the claims."""
    by_name = {claim.id: claim for claim in claims}

    def judged(frame, name):
        return ledger(frame, [by_name[name]])[0]

    return judged


def chosen(frame, **where):
    """Rows at a place, of which there must be some."""
    found = pd.Series(True, index=frame.index)
    for column, value in where.items():
        found &= frame[column].isin([value] if isinstance(value, str | int | float) else value)
    assert found.any(), where
    return found


def scaled(factor, columns, **where):
    """Return a change that multiplies a column, or several, of the rows at a place, over a little noise."""

    def change(frame):
        rows = chosen(frame, **where)
        noise = np.exp(np.random.default_rng(2).normal(0, 0.003, int(rows.sum())))
        for column in [columns] if isinstance(columns, str) else columns:
            frame.loc[rows, column] = frame.loc[rows, column].astype(float) * factor * noise

    return change
