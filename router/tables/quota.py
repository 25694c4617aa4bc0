"""What a provider allows in a minute, in a day and at once: keys of `[providers.NAME]` and of `[clouds.NAME]`."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from router.tables.table import Count, Table


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'"{name}" is no time zone; write one like "America/Los_Angeles" or "UTC"') from error
    return name


Zone = Annotated[str, AfterValidator(_zone)]


class Quota(Table):
    """Bounds of one key. None: no bound is known, until the provider tells one in its headers.

    The windows of a minute fill up evenly (token bucket); those of a day begin anew at midnight in `day_zone`.
    """

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_day: Count | None = None
    concurrent: Count | None = None
    day_zone: Zone | None = None
