"""Files on their way to the disk and from servers: atomic writes, checksums, cached records, downloads."""
