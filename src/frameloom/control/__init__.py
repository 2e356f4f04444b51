"""Supervision and control: owns the worker processes, and the one socket by which everybody steers them.

`lifecycle` decides, `placement` starts processes, `worker` and `supervisor` join the two, `commands` and
`listener` let others in, `client` is the way to talk to a running site, `runner` runs one in the foreground.
Nothing here loads a codec, OpenCV, numpy or a web framework. What a worker does belongs to
`frameloom.workers`; what the site's file says belongs to `frameloom.site`.
"""
