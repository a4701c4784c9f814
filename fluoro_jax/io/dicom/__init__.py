"""DICOM files in and out. pydicom (extra `[dicom]`) is imported where it is used."""
