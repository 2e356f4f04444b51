"""Speed, side by side with what a user would take instead, in one run: `python -m benchmarks` (or `make bench`).

Tests say whether it is right; these say how fast. Figures are medians of several rounds in which the ways take turns,
and ratios: absolute figures drift from machine to machine and from minute to minute.
"""
