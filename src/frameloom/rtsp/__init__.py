"""RTSP 1.0 as a server: messages, sessions, RTP packets, and live streams for players that speak it.

Where pictures come from belongs to who uses it: the worker `frameloom.workers.rtsp`, the cameras of
`frameloom.testing`. Reading cameras is the business of `frameloom.sources`.
"""
