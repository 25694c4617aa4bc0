"""Whether a server answers, and whether it makes a token: what every kind of engine is asked alike."""

from __future__ import annotations

from engines.kinds.wire import EngineSilentError, Wire


async def answers(http: Wire, page: str, limit_s: float) -> bool:
    """Whether this page comes in time."""
    try:
        await http.get(page, limit_s)
    except EngineSilentError:
        return False
    return True


async def makes_token(http: Wire, url: str, model: str, limit_s: float) -> bool:
    """Whether one token comes in time, asked for as the router asks."""
    body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0.0}
    try:
        await http.post(f"{url}/v1/completions", body, limit_s)
    except EngineSilentError:
        return False
    return True
