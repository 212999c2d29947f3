"""Recordings: MCAP files of ROS 2 messages, written, read and mended (CONTRACT 4).

`topics` says what stands in which topic, `cdr` how a message lies in bytes, `writer` and `reader`
what a file is made of. The sink, the source and `aam-edge replay` share them.
"""
