"""What a process tells of itself to those who run it: measures, traces, and lines of its log.

Neither a UID nor anything of a patient is ever among them.
"""
