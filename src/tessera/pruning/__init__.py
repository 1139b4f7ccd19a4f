"""Pruning: the importance of each block of a network is measured, and the least important blocks are removed."""
