"""Discriminators: one file per network, with its configuration and its declaration; `catalog` lists them all."""
