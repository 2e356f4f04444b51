"""The bus: named streams of frames, packets and results between processes.

Memory is passed as a file descriptor, ownership as messages over a Unix socket. The publisher keeps all counts in its
own memory. What produces or consumes the items belongs to `frameloom.sources`, `.processors`, `.sinks`; who runs them
to `frameloom.control`. See docs/design/0001-the-bus.md, and docs/bus-protocol.md for what goes over the socket.
"""
