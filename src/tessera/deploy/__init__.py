"""Models for other programs and other machines: what a network costs, and its files in their formats, verified."""
