"""The server worker: the page, JSON, live pictures. A controller like any other.

It reads the bus and posts commands to the control socket; it never reaches into a worker and loads no codec: pictures
are encoded by view workers. Which workers exist and what they do belongs to `frameloom.control` and `frameloom.site`.
"""
