"""Volumes: steps over images of three axes."""
