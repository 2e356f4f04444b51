"""`frameloom top`: a running site in the terminal, as a live table, and steered by keys.

It is one more controller: it reads snapshots and posts commands, and the site goes on without it. What the rows say is
in `rows.py`, what the keys order in `orders.py`; both know nothing of the terminal.
"""
