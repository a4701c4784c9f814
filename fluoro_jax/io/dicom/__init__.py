"""DICOM files: CT series, contours and plans, projections; extra `[dicom]`."""
