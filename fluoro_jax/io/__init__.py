"""Files in and out: clips, volumes, tracks; MetaImage, TrackRAD, PNG, DICOM CT."""
