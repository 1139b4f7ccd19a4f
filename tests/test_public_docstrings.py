"""The public names and their methods say what they take, return and raise, in sections that editors show."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tessera
import tessera.errors


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in tessera.__all__:
        value: Any = getattr(tessera, name)
        if inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value) and not issubclass(value, Exception):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                if not method.startswith("_"):
                    yield f"{name}.{method}", function


FUNCTIONS = dict(public_functions())


def sections_of(text: str) -> dict[str, str]:
    """The Google-style sections of a docstring: "Args" -> its lines, and "" -> what comes before them."""
    parts = re.split(r"^(Args|Returns|Raises):$", inspect.cleandoc(text), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_the_public_functions_are_found() -> None:
    assert {"upscale", "read_picture", "Upscaler.upscale_file", "Settings.output_size"} <= FUNCTIONS.keys()
    assert len(FUNCTIONS) >= 18


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_documents_its_arguments_result_and_errors(name: str) -> None:
    function = FUNCTIONS[name]
    sections = sections_of(function.__doc__ or "")
    signature = inspect.signature(function)
    documented = re.findall(r"^    \**(\w+):", sections.get("Args", ""), re.MULTILINE)
    assert documented == [argument for argument in signature.parameters if argument != "self"]
    assert ("Returns" in sections) == (signature.return_annotation not in (None, "None"))
    assert "Raises" not in sections[""], "errors belong into the section Raises"
    errors = re.findall(r"^    (\w+):", sections.get("Raises", ""), re.MULTILINE)
    assert all(hasattr(tessera.errors, error) or error in ("ValueError", "TypeError") for error in errors)


@pytest.mark.parametrize("name", ["LoadedGenerator", "Picture", "Settings", "Upscaler"])
def test_a_public_class_documents_its_arguments(name: str) -> None:
    kind = getattr(tessera, name)
    documented = re.findall(r"^    \**(\w+):", sections_of(kind.__doc__ or "")["Args"], re.MULTILINE)
    assert documented == [argument for argument in inspect.signature(kind).parameters if argument != "self"]
