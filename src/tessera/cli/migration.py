"""What users of other tools write, and what to write here instead.

The options are those of Real-ESRGAN, A-ESRGAN, the ncnn tools, upscayl and joeyballentine/ESRGAN that are none here.
"""

from __future__ import annotations

from typing import Any

from tessera.cli.command import Command
from tessera.errors import UsageError

_VIDEO = "videos are not read yet: extract the frames, upscale their folder, and join them again."
_ALPHA_LEVELS = "alpha keeps all its levels; leave it out."
INSTEAD = {
    ("--face_enhance", "--face-enhance"): "faces are not processed separately; leave it out.",
    ("--pre_pad", "--pre-pad"): "borders need no padding; leave it out (--seamless is for textures that repeat).",
    ("--half", "--fp16", "-fp16"): "reduced precision is chosen where it is fast; --precision fast forces it.",
    ("--block", "--num_block"): "the number of blocks is read from the weights file; leave it out.",
    ("--fps", "--ffmpeg_bin", "--extract_frame_first", "--num_process_per_gpu"): _VIDEO,
    (
        "--scale",
        "--netscale",
    ): "use -s (--outscale) for the output's size; the network's scale is read from its weights.",
    ("-z", "--model-scale"): "the network's scale is read from its weights; -s sets the output's size.",
    ("-f", "--format"): "use --ext, as in --ext png.",
    ("-j",): "threads are chosen to fit the machine; leave it out, or use --threads 2.",
    ("-m", "--models", "--model-dir"): "-n takes a file with its folder, as in -n models/NAME.param.",
    ("-w", "--width"): "use -s 1920x for a width of 1920 pixels.",
    ("--height",): "use -s x1080 for a height of 1080 pixels.",
    ("--compress", "--compression"): "use --quality, from 1 to 100.",
    ("-c",): "for upscayl's compression use --quality, from 1 to 100; for ESRGAN's --cpu use -g cpu.",
    ("--cpu", "--no-gpu"): "use -g cpu.",
    ("-se", "--skip-existing", "--skip_existing"): "finished files are always skipped; leave it out.",
    ("-di", "--delete-input", "--delete_input"): "inputs are never deleted; leave it out.",
    ("--reverse",): "the order of the pictures does not matter; leave it out.",
    ("-did", "--device-id", "--device_id"): "use -g, as in -g 0.",
    (
        "-cmsd",
        "--cache-max-split-depth",
    ): "tiles shrink automatically when memory runs out; -t sets their size.",
    ("-ba", "--binary-alpha", "-ta", "--ternary-alpha"): _ALPHA_LEVELS,
    ("-at", "--alpha-threshold", "-abo", "--alpha-boundary-offset"): _ALPHA_LEVELS,
    ("-am", "--alpha-mode"): "use --alpha model or --alpha lanczos.",
}
"""Options of other tools, those with one answer together."""


class MigratingCommand(Command):
    """`tessera upscale`, which knows what users of other tools write and says what to write instead."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse another tool's option with its answer, then read the line as usual."""
        instead = {name: words for names, words in INSTEAD.items() for name in names}
        takes_value = {name for option in self.params if not getattr(option, "is_flag", False) for name in option.opts}
        for before, word in zip(("", *args), args, strict=False):
            if word == "--":
                break
            name = word.split("=")[0]
            if name in instead and before not in takes_value:
                raise UsageError(f"`tessera upscale` has no option {name}: {instead[name]}")
        return super().parse_args(ctx, args)
