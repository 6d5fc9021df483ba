"""Frames as arrays: numpy and codecs, no I/O."""
