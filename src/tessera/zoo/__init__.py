"""Model names to files: published models, blends, int8 companions. Nothing is imported here."""
