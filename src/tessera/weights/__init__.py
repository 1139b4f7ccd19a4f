"""Weights files of every format: read safely, recognized, described, written. Nothing is imported here."""
