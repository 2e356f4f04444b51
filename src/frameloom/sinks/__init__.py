"""What takes packets out of the site: so far, recordings.

Files are the truth here: what is recorded can be found, played and deleted without any database. What hosts a sink in
a process is `frameloom.workers`; an index of the recordings, and serving them, is somebody else's.
"""
