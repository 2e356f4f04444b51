"""`site.yaml`: its model, reading it with positions, writing it back with a person's comments kept, what changed.

Knows what a site is to be, never what it is: nothing here starts, stops or asks a worker (`frameloom.control` does),
and nothing here loads a codec, OpenCV or NumPy. Code of processors is only ever looked at in a child process
(`describe.py`).
"""
