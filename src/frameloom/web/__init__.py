"""The browser's side: static files that the server worker serves. No Python belongs here.

The page is plain ES modules without a build step; it talks only to the JSON, WebSocket and JPEG resources that
everybody else can use too.
"""
