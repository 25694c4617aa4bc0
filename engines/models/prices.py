"""Twins: what a cloud deployment can do and what it costs, from litellm's list or from its own table in stack.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.models.lock import LockedTwin
from ground.prices import CAPABILITIES, PRICES, Listed

# A twin writes; in the order in which models.lock has what it can.
WRITES = ("chat", "completion")
UNKNOWN = Listed(None, None, None, frozenset({"chat"}))


class PriceError(ValueError):
    """A deployment of which the list does not say enough for a twin."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The list, by litellm's name of a model, and where it is from."""

    source: str
    listed: Mapping[str, Listed]

    def twin(self, deployment: str, model: str, own: Mapping[str, Any]) -> LockedTwin:
        """The facts of that deployment. `own` is its table in stack.toml, which counts where litellm knows nothing.
        Raises PriceError."""
        found = self.listed.get(model, UNKNOWN)
        can = tuple(name for name in (*WRITES, *CAPABILITIES) if name in (found.capabilities or ()))
        if not can or can[0] not in WRITES:
            raise PriceError(f"{model} is no model to chat with: {self.source} lists it as {found.mode!r}.")
        price_in, price_out, context = found.input_usd_per_mtok, found.output_usd_per_mtok, found.context_tokens
        if price_in is None or price_out is None or context is None:
            return _own_twin(deployment, model, {"context_tokens": context, "capabilities": can, **own}, self.source)
        return LockedTwin(deployment, model, context, can, price_in, price_out, self.source)


def installed_prices() -> Prices:
    """The list of the installed litellm."""
    return Prices(PRICES.source, PRICES)


def _own_twin(deployment: str, model: str, own: Mapping[str, Any], source: str) -> LockedTwin:
    needed = ("input_usd_per_mtok", "output_usd_per_mtok", "context_tokens")
    if missing := [key for key in needed if own.get(key) is None]:
        raise PriceError(
            f"{source} does not know all of context and price of {model!r}. "
            f"Add {', '.join(missing)} to [clouds.{deployment}] in stack.toml."
        )
    return LockedTwin(
        deployment=deployment,
        model=model,
        context_tokens=own["context_tokens"],
        capabilities=tuple(own["capabilities"]),
        input_usd_per_mtok=float(own["input_usd_per_mtok"]),
        output_usd_per_mtok=float(own["output_usd_per_mtok"]),
        priced_from="stack.toml",
    )
