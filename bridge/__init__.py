"""Roentgate's DIMSE bridge: another process, which reaches the web layer over HTTP only."""
