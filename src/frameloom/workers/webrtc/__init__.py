"""WebRTC for viewers: a camera's pictures by RTP, as the camera sent them, with the least delay.

`host` is the worker; it loads all else with the first viewer. `service` keeps viewers and cameras, `pictures` shares a
camera's packets, `viewer` is one of those who look, `ice` and `sdp` are how they are found, `rtp` is what they get.
Encryption is aiortc's. Nothing is decoded or encoded here. HTTP belongs to `frameloom.server.whep`.
"""
