"""Training data: folders, lists, stores and pairs -> crops, each a pure function of the seed and its number."""
