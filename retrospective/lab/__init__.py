"""The lab: two hosts joined by a wire on one machine, trials in it, and what makes a trial count.

Kept empty of imports: the holder process starts from this package and must be small.
"""
