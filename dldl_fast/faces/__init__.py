"""Faces in photos: found, and brought into the position that the networks were trained on."""
