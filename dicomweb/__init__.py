"""Roentgate's web layer: DICOMweb over an object store and a metadata index (PS3.18)."""
