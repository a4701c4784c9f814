"""Trackers the network is compared with, one file each."""
