"""Picture formats, one module each: what the format holds, how it is read, how it is written."""
