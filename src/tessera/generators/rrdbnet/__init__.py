"""RRDBNet."""
