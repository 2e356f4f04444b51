"""The child process that hosts one source, processor or sink.

`python -m frameloom.workers --fd N --name NAME` is its command.
`host` is the contract of what runs in it, `link` its connection to the supervisor, `main` its life from start
to exit. Starting workers, watching them and restarting them belong to `frameloom.control`; the work itself
belongs to `frameloom.sources`, `processors` and `sinks`.
"""
