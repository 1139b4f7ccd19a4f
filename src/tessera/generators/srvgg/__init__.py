"""SRVGGNetCompact."""
