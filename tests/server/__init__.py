"""The web server: on its own in the test's event loop, and in a running site."""
