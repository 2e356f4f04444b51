"""What was recorded, and when: an index in a database, made from the files and made again from them if it is lost.

The files are the truth. How they are written is the business of `frameloom.sinks`.
"""
