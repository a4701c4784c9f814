"""Files in and out: MetaImage volumes and films, CT, TrackRAD case folders."""
