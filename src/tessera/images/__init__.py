"""Picture files and pixels: formats, readers, writers, metadata, color, resizing."""
