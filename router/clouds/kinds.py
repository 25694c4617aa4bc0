"""What is known of providers in general: which windows they bound, and when their day begins.

A kind is litellm's name of a provider. Of kinds that are not listed nothing is known, so nothing is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

REQUESTS_MINUTE, TOKENS_MINUTE = "requests_per_minute", "tokens_per_minute"
REQUESTS_DAY, TOKENS_DAY = "requests_per_day", "tokens_per_day"
MINUTES = (REQUESTS_MINUTE, TOKENS_MINUTE)
# How many run at once anybody may bound for himself, so that it is no window of a provider.
WINDOWS = (*MINUTES, REQUESTS_DAY, TOKENS_DAY)
OPENAI = "openai"
OPENAI_HOST = "api.openai.com"


class Kind(msgspec.Struct, frozen=True):
    """`windows` are the bounds that it has, `day_zone` the time zone at whose midnight its day begins. `gives_one`: it
    gives one answer, whatever `n` says, for litellm 1.106 leaves the field out there."""

    windows: tuple[str, ...] = WINDOWS
    day_zone: str = "UTC"
    gives_one: bool = False


UNLISTED = Kind()
# By the page of each provider's documentation on rate limits, read in 2026. A window of a second counts as one of a
# minute. Groq, SambaNova and OpenRouter name no hour for the end of their day, so that it is UTC's; what their headers
# say of it counts more.
KINDS = {
    # "Rate limits": RPM, RPD, TPM, TPD.
    OPENAI: Kind(),
    # "Rate limits": requests, input tokens and output tokens, each per minute.
    "anthropic": Kind(MINUTES, gives_one=True),
    # "Rate limits": RPM, TPM, RPD; "RPD quotas reset at midnight Pacific time".
    "gemini": Kind((*MINUTES, REQUESTS_DAY), "America/Los_Angeles"),
    # "Rate Limits": RPM, RPD, TPM, TPD.
    "groq": Kind(),
    # "Rate limit and usage tiers": requests per second, tokens per minute (and per month).
    "mistral": Kind(MINUTES, gives_one=True),
    # "Rate limits": a dynamic rate of requests and of tokens for each model, shown as RPM and TPM.
    "together_ai": Kind(MINUTES),
    # "Limits": of free models, requests per minute and per day.
    "openrouter": Kind((REQUESTS_MINUTE, REQUESTS_DAY)),
    # "Rate Limit": only how many requests of a model run at once.
    "deepseek": Kind(()),
    # "Rate limits": RPM, RPD, TPD.
    "sambanova": Kind((REQUESTS_MINUTE, REQUESTS_DAY, TOKENS_DAY), gives_one=True),
    # "Rate limits and scaling": RPM and TPM.
    "nebius": Kind(MINUTES),
}


def kind_of(name: str, base_url: str | None = None) -> Kind:
    """What is known of it; of another server that speaks OpenAI's format, nothing."""
    return UNLISTED if is_somebody_elses(name, base_url) else KINDS.get(name, UNLISTED)


def is_somebody_elses(name: str, base_url: str | None) -> bool:
    """Whether it only speaks OpenAI's format, at a URL of somebody else's, whose prices and limits are not OpenAI's."""
    return name == OPENAI and base_url is not None and urlsplit(base_url).hostname != OPENAI_HOST
