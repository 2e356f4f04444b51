"""Recordings as they are found, listed, played and cut out: what is in the files, and an index of it in a database.

The files are the truth (`frameloom.sinks` writes them); an index is made from them and can be made again. Nothing here
is decoded, and no codec is loaded. Who keeps the index up to date is `frameloom.workers.index`; HTTP is the server's.
"""
