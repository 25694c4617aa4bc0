"""What is known of providers in general: whose wire format a kind is, which windows it bounds, when its day begins.

A kind is litellm's name of a provider. Of kinds that are not listed nothing is known, so nothing is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

REQUESTS_MINUTE, TOKENS_MINUTE = "requests_per_minute", "tokens_per_minute"
REQUESTS_DAY, TOKENS_DAY = "requests_per_day", "tokens_per_day"
MINUTES = (REQUESTS_MINUTE, TOKENS_MINUTE)
# How many run at once is a bound that anybody may set for himself, so that it is no window of a provider.
WINDOWS = (*MINUTES, REQUESTS_DAY, TOKENS_DAY)
OPENAI = "openai"
OPENAI_HOST = "api.openai.com"


class Kind(msgspec.Struct, frozen=True):
    """`windows` are the bounds that it has, `day_zone` the time zone in which its day begins."""

    windows: tuple[str, ...] = WINDOWS
    day_zone: str = "UTC"


UNLISTED = Kind()
KINDS = {
    OPENAI: Kind(),
    "anthropic": Kind(MINUTES),
    "gemini": Kind((*MINUTES, REQUESTS_DAY), "America/Los_Angeles"),
    "groq": Kind(),
    "mistral": Kind(MINUTES),
    "together_ai": Kind(MINUTES),
    "openrouter": Kind((REQUESTS_MINUTE, REQUESTS_DAY)),
    "deepseek": Kind(()),
    "sambanova": Kind((REQUESTS_MINUTE, REQUESTS_DAY, TOKENS_DAY)),
    "nebius": Kind(MINUTES),
}


def kind_of(name: str, base_url: str | None = None) -> Kind:
    """What is known of it; of another server that speaks OpenAI's format, nothing."""
    return UNLISTED if is_somebody_elses(name, base_url) else KINDS.get(name, UNLISTED)


def is_somebody_elses(name: str, base_url: str | None) -> bool:
    """Whether it only speaks OpenAI's format, at a URL of somebody else's, whose prices and limits are not OpenAI's."""
    return name == OPENAI and base_url is not None and urlsplit(base_url).hostname != OPENAI_HOST
