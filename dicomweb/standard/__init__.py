"""What the DICOM Standard says: tables and pure functions. No I/O, no clock, no environment."""
