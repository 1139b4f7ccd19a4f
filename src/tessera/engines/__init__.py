"""Engines that run a generator: each takes a batch of tiles and returns the upscaled batch.

`engine` holds the protocol and the types, `opening` the list ENGINES and `open_engine`. Each engine has a folder with
its declaration (`__init__`, cheap to import) and its code (`engine`). To add one: a module with a declaration, and a
line in `opening`.
"""
