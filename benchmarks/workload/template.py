"""A model's chat template, rendered as the server renders it: what stands around the text of the user. Reads files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
# What only training needs: it marks the answers and adds nothing to a prompt.
GENERATION = re.compile(r"{%(-?)\s*(?:end)?generation\s*(-?)%}")


class Template:
    """A compiled template. The environment is that of the transformers library: trimmed blocks, loop controls."""

    def __init__(self, source: str, tokens: Mapping[str, str], name: str) -> None:
        """`tokens` are the special tokens that a template may name. Raises ValueError where it cannot be compiled."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = _refused
        environment.globals["strftime_now"] = _now
        self._name = name
        self._tokens = tokens
        try:
            self._template = environment.from_string(GENERATION.sub(r"{%\1 if true \2%}{% endif %}", source))
        except TemplateError as error:
            raise ValueError(f"{name}: the chat template cannot be compiled: {error}") from error

    def rendered(self, text: str) -> str:
        """The whole prompt for one message of a user."""
        try:
            return self._template.render(
                messages=[{"role": "user", "content": text}], add_generation_prompt=True, **self._tokens
            )
        except TemplateError as error:
            raise ValueError(f"{self._name}: the chat template cannot be rendered: {error}") from error


def template_in(folder: Path) -> Template | None:
    """Of the model in this folder; None where it has none. Raises ValueError on files that cannot be read."""
    config = _config_in(folder / CONFIG)
    source = config.get("chat_template")
    if (folder / FILE).is_file():
        source = (folder / FILE).read_text(encoding="utf-8")
    # Some models have several, by name; servers take the one named default.
    if isinstance(source, list):
        source = {each["name"]: each["template"] for each in source}.get("default")
    if not isinstance(source, str):
        return None
    return Template(source, _tokens_in(config), folder.name)


def _config_in(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object")
    return found


def _tokens_in(config: Mapping[str, Any]) -> Mapping[str, str]:
    """`bos_token` and its like: a string, or an object with `content`."""
    tokens = {}
    for name, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            tokens[name] = text
    return tokens


def _as_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refused(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
