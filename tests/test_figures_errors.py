"""Every answer that is not complete is an error of exactly one kind, and the kind is the cause, not what follows it."""

import dataclasses

import pytest

from benchmarks.figures.errors import Ending, Failure, kind_of, kind_of_status

NOTHING = Ending(
    200, is_framed=False, is_wellformed=False, has_error=True, has_done=False, has_finished=False, has_content=False
)


def test_a_complete_answer_is_no_error() -> None:
    assert kind_of(Ending(200)) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0, "connection"),
        (100, "status_other"),
        (204, "status_other"),
        (302, "status_other"),
        (400, "status_4xx"),
        (404, "status_4xx"),
        (429, "rate_limited"),
        (499, "status_4xx"),
        (500, "status_5xx"),
        (503, "status_5xx"),
    ],
)
def test_a_status_other_than_200_is_the_error_whatever_the_body_lacks(status: int, kind: str) -> None:
    assert kind_of_status(status) == kind
    assert kind_of(Ending(status)) == kind
    assert kind_of(dataclasses.replace(NOTHING, status=status)) == kind


def test_the_cause_is_told_before_what_follows_from_it() -> None:
    ending, kinds = NOTHING, []
    for mended in ("has_error", "is_framed", "is_wellformed", "has_finished", "has_done", "has_content"):
        kinds.append(kind_of(ending))
        ending = dataclasses.replace(ending, **{mended: mended != "has_error"})
    assert kinds == [
        Failure.STREAM_ERROR,
        Failure.FRAMING,
        Failure.MALFORMED,
        Failure.CUT,
        Failure.CUT,
        Failure.EMPTY,
    ]
    assert kind_of(ending) is None


def test_missing_usage_is_an_error_only_of_an_answer_that_is_complete() -> None:
    assert kind_of(Ending(200, lacks_usage=True)) is Failure.NO_USAGE
    assert kind_of(Ending(200, lacks_usage=True, has_done=False)) is Failure.CUT


def test_kinds_are_words_that_json_can_hold() -> None:
    assert all(each.value == str(each) and each.value.replace("_", "").isalnum() for each in Failure)
