"""The browser's side, as it is built from web/ into the folder `built`. No Python belongs here.

The page talks only to the JSON, WebSocket and media resources that everybody else can use too.
"""
