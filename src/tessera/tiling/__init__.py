"""A picture in tiles: where they lie, how they run and blend, and the settings."""
