"""Real processes from end to end: a site as a user starts it, cameras on real sockets, a browser."""
