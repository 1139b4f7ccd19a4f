"""The options of `tessera upscale` follow the declarations of the settings, and shells complete their values."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from typing import Any, get_args, get_type_hints

import pytest
import typer

from tessera.cli import upscale
from tessera.tiling.settings import Changes, Settings, list_settings

OPTIONS: dict[str, Any] = {each.name: each for each in typer.main.get_command(upscale.app).params}
DECLARED = [each for each in list_settings() if each.name != "limits"]


def _words(option: Any) -> list[str]:
    """The allowed words of an option, from its type."""
    return re.findall(r"[\w-]+", str(option.type_descriptor))


@pytest.mark.parametrize("declared", DECLARED, ids=lambda each: each.name)
def test_every_setting_is_an_option_with_the_declared_values(declared):
    option = OPTIONS[declared.name]
    assert option.default == (None if declared.name == "alpha" else declared.default)  # Real-ESRGAN has another name
    if declared.choices:
        assert set(declared.choices) <= set(_words(option))
    assert declared.name == "quality" or declared.name == "device" or option.help == declared.help


def test_the_keywords_are_the_settings_with_the_declared_types():
    fields = get_type_hints(Settings, include_extras=True)
    for name, hint in get_type_hints(Changes, include_extras=True).items():
        if name != "outscale":  # which is also given as text
            assert hint == fields[name]
    assert {*get_type_hints(Changes), "engine"} == {field.name for field in dataclasses.fields(Settings)}


def test_every_range_is_in_the_help_and_in_force():
    for declared in DECLARED:
        least, most = declared.setting.minimum, declared.setting.maximum
        if least is not None:
            assert str(least) in declared.help
            assert declared.setting.allows(least)
            assert not declared.setting.allows(least - 1) or declared.setting.zero
        if most is not None:
            assert not declared.setting.allows(most + 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tessera ups", {"upscale"}),
        ("tessera upscale --engine ", {"auto", "kernels", "ncnn", "openvino", "pytorch", "onnxruntime"}),
        ("tessera upscale --precision f", {"fast"}),
        ("tessera upscale --color", {"--color-lock"}),
    ],
)
def test_the_shell_completes_commands_options_and_values(words: str, expected: set[str]):
    position = len(words.split(" ")) - 1
    environment = {
        **os.environ,
        "_TESSERA_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(position),
    }
    command = [sys.executable, "-c", "from tessera.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert set(done.stdout.split()) == expected


def test_engine_names_are_those_of_the_engines():
    from tessera.engines.opening import ENGINES, EngineName

    assert get_args(EngineName) == ("auto", *(info.name for info in ENGINES))
