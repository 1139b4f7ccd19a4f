"""Training: recipes, the step, the loop, checkpoints, the watch over a run.

A run is `train(load_recipe("realesrgan", ["data.train=photos"]), resume=False, display=...)`.
"""
