"""Benchmarks: Roentgate, and Orthanc beside it where it is installed, under the same load in one run."""
