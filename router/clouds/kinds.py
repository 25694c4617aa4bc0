"""What is known of providers in general: which windows they bound, when their day begins, what they do not take.

A kind is litellm's name of a provider. Of kinds that are not listed nothing is known, so nothing is refused.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

REQUESTS_MINUTE, TOKENS_MINUTE = "requests_per_minute", "tokens_per_minute"
REQUESTS_DAY, TOKENS_DAY = "requests_per_day", "tokens_per_day"
MINUTES = (REQUESTS_MINUTE, TOKENS_MINUTE)
# How many run at once anybody may bound for himself, so that it is no window of a provider.
WINDOWS = (*MINUTES, REQUESTS_DAY, TOKENS_DAY)
OPENAI = "openai"
OPENAI_HOST = "api.openai.com"


ONE_ANSWER = frozenset({"n"})
LOGPROBS = frozenset({"logprobs", "top_logprobs"})
# Without one of these an answer is another one, or lacks what was asked for. Of other fields it is only the style.
FIELDS = LOGPROBS | ONE_ANSWER | {"seed", "logit_bias", "stop"}
NO_FIELDS = frozenset[str]()


class Kind(msgspec.Struct, frozen=True):
    """`windows` are the bounds that it has, `day_zone` the time zone at whose midnight its day begins. `drops` are the
    fields that litellm 1.106 leaves out of a request there without a word, of those that an answer hangs on."""

    windows: tuple[str, ...] = WINDOWS
    day_zone: str = "UTC"
    drops: frozenset[str] = NO_FIELDS


UNLISTED = Kind()
# By the page of each provider's documentation on rate limits, read in 2026. A window of a second counts as one of a
# minute. Groq, SambaNova and OpenRouter name no hour for the end of their day, so that it is UTC's; what their headers
# say of it counts more.
KINDS = {
    # "Rate limits": RPM, RPD, TPM, TPD.
    OPENAI: Kind(),
    # "Rate limits": requests, input tokens and output tokens, each per minute.
    "anthropic": Kind(MINUTES, drops=FIELDS - {"stop"}),
    # "Rate limits": RPM, TPM, RPD; "RPD quotas reset at midnight Pacific time".
    "gemini": Kind((*MINUTES, REQUESTS_DAY), "America/Los_Angeles", frozenset({"top_logprobs", "logit_bias"})),
    # "Rate Limits": RPM, RPD, TPM, TPD.
    "groq": Kind(),
    # "Rate limit and usage tiers": requests per second, tokens per minute (and per month).
    "mistral": Kind(MINUTES, drops=FIELDS - {"seed", "stop"}),
    # "Rate limits": a dynamic rate of requests and of tokens for each model, shown as RPM and TPM.
    "together_ai": Kind(MINUTES),
    # "Limits": of free models, requests per minute and per day.
    "openrouter": Kind((REQUESTS_MINUTE, REQUESTS_DAY)),
    # "Rate Limit": only how many requests of a model run at once.
    "deepseek": Kind(()),
    # "Rate limits": RPM, RPD, TPD.
    "sambanova": Kind((REQUESTS_MINUTE, REQUESTS_DAY, TOKENS_DAY), drops=FIELDS - {"stop"}),
    # "Rate limits and scaling": RPM and TPM.
    "nebius": Kind(MINUTES),
}


def kind_of(name: str, base_url: str | None = None) -> Kind:
    """What is known of it; of another server that speaks OpenAI's format, nothing."""
    return UNLISTED if is_somebody_elses(name, base_url) else KINDS.get(name, UNLISTED)


def drops_of(kind: str, model: str) -> frozenset[str]:
    """What is left out for this model (a litellm model string). For models of OpenAI's format litellm goes by their
    names; of some that can reason it takes `logprobs` while they do not, which nobody can tell here."""
    if kind != OPENAI:
        return KINDS.get(kind, UNLISTED).drops
    name = model.rpartition("/")[2]
    if "search" in name and REASONING.match(name):
        return FIELDS
    if REASONING.match(name):
        return LOGPROBS | {"logit_bias", "stop"}
    return LOGPROBS if O_SERIES.match(name) else NO_FIELDS


REASONING = re.compile(r"gpt-([5-9]|\d\d)")
O_SERIES = re.compile(r"o\d")


def is_somebody_elses(name: str, base_url: str | None) -> bool:
    """Whether it only speaks OpenAI's format, at a URL of somebody else's, whose prices and limits are not OpenAI's."""
    return name == OPENAI and base_url is not None and urlsplit(base_url).hostname != OPENAI_HOST
