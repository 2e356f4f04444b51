"""Test and demo material, shipped so that users test with what we test with.

Films with known truth (`films`), an RTSP server with scripted failures (`rtsp_server`, `rtp`), cameras made by
others (`cameras`) and what skips or fails a test when a real component is missing (`needs`).

Importing this package imports nothing: no codec, no OpenCV. The submodules do, when they are imported.
"""
