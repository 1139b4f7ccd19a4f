"""ESRDnet."""
