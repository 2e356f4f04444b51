"""Frameloom: the video application server for Python."""
