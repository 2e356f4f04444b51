"""The command line. One file per group of verbs; every verb is a controller that posts commands or reads state.

Loads no codec and no OpenCV: `frameloom status` must answer at once. Texts for people go to standard output, problems
to standard error; `--json` where one scripts.

Exit codes: 0 done; 1 refused, or something failed; 2 wrong usage; 3 the site is not running; 4 it took too long.
"""

from __future__ import annotations

from .app import main

__all__ = ["main"]
