"""Downloads that are cut, ended, refused or spoiled, and what is left of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engines.models.lock import LockedModel
from tests.downloads import FIRST, SECOND, Place, sha256
from tests.hub_faults import Fault
from tests.routers import until
from tests.stand_in_hub import standing_in_hub


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with standing_in_hub() as hub:
        yield Place(hub, tmp_path)


@pytest.fixture
def model(place: Place) -> LockedModel:
    return place.publish({"config.json": b"{}", "a.safetensors": FIRST, "b.safetensors": SECOND, "more/x.json": b"[]"})


def test_after_a_cut_only_the_rest_is_asked_for(place: Place, model: LockedModel) -> None:
    place.hub.fail(Fault("a.safetensors", cut_after=700_000))

    assert place.download() == (0, "")

    assert [asked.start for asked in place.hub.bodies("a.safetensors")] == [0, 700_000]
    assert place.file(model, "a.safetensors").read_bytes() == FIRST


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_download_goes_on_where_it_was(place: Place, model: LockedModel, ending: signal.Signals) -> None:
    place.hub.fail(Fault("a.safetensors", hold_after=1_300_000))
    part = place.cache / "blobs" / f"{sha256(FIRST)}.incomplete"
    with place.start() as process:
        # The other files come and go meanwhile; this one stays until it is whole.
        until(lambda: part.exists() and part.stat().st_size == 1_300_000)
        until(lambda: place.file(model, "b.safetensors").exists())
        process.send_signal(ending)
        process.communicate(timeout=15)
    assert process.returncode == -ending
    assert not place.file(model, "a.safetensors").exists()

    place.hub.release()
    assert place.download() == (0, "")

    assert [asked.start for asked in place.hub.bodies("a.safetensors")] == [0, 1_300_000]
    assert len(place.hub.bodies("b.safetensors")) == 1
    assert place.file(model, "a.safetensors").read_bytes() == FIRST
    assert place.parts() == []


def test_wrong_bytes_are_fetched_a_second_time(place: Place, model: LockedModel) -> None:
    place.hub.fail(Fault("a.safetensors", wrong_bytes=True))

    assert place.download() == (0, "")

    assert [asked.start for asked in place.hub.bodies("a.safetensors")] == [0, 0]
    assert place.file(model, "a.safetensors").read_bytes() == FIRST


def test_wrong_bytes_twice_are_refused_and_leave_nothing(place: Place, model: LockedModel) -> None:
    place.hub.fail(Fault("a.safetensors", wrong_bytes=True, times=9))

    code, error = place.download()

    assert code == 1
    assert "cannot download a.safetensors of [models.small]" in error
    assert f"models.lock says {sha256(FIRST)}" in error
    assert len(place.hub.bodies("a.safetensors")) == 2
    assert not place.file(model, "a.safetensors").exists()
    assert not (place.cache / "blobs" / sha256(FIRST)).exists()
    assert [part.name for part in place.parts() if sha256(FIRST) in part.name] == []


def test_a_gated_repository_wants_a_token_before_anything_is_fetched(place: Place) -> None:
    place.publish({"config.json": b"{}", "a.safetensors": FIRST}, gated=True)
    place.hub.tokens = {"hf_good"}

    code, error = place.download()
    assert code == 1
    assert "hf:maker/model: this repository is gated" in error
    assert "HF_TOKEN" in error
    assert [asked for asked in place.hub.asked if asked.is_body] == []

    assert place.download("hf_good") == (0, "")
    assert "hf_good" not in {asked.token for asked in place.hub.bodies("a.safetensors")}


def test_a_revision_that_is_gone_is_named(place: Place, model: LockedModel) -> None:
    place.write_lock(replace(model, revision="0" * 40))

    code, error = place.download()

    assert code == 1
    assert "there is no branch, tag or commit '" + "0" * 40 in error


def test_a_lock_that_the_hub_contradicts_is_refused_before_anything_is_fetched(
    place: Place, model: LockedModel
) -> None:
    config, first, *rest = model.files
    longer, other = replace(first, bytes=first.bytes + 1), replace(first, sha256=sha256(SECOND))
    place.write_lock(replace(model, files=(config, longer, *rest)))
    code, error = place.download()
    assert code == 1
    assert f"it has {len(FIRST)} bytes on the hub and {len(FIRST) + 1} in models.lock" in error

    place.write_lock(replace(model, files=(config, other, *rest)))
    code, error = place.download()
    assert code == 1
    assert f"it has sha256 {sha256(FIRST)} on the hub and {sha256(SECOND)} in models.lock" in error
    assert [asked for asked in place.hub.asked if asked.is_body] == []


def test_a_hub_that_is_away_is_said_within_seconds(place: Place, model: LockedModel) -> None:
    place.hub.fail(Fault("config.json", status=503, times=99))

    code, error = place.download()

    assert code == 1
    assert "the hub answers 503" in error


def test_a_hub_that_is_away_for_a_moment_is_asked_again(place: Place, model: LockedModel) -> None:
    place.hub.fail(Fault("config.json", status=503))
    place.hub.fail(Fault("a.safetensors", status=429, retry_after_s=0, contents_only=True))

    assert place.download() == (0, "")


def test_a_disk_that_fills_up_is_refused_and_what_came_is_kept(place: Place, model: LockedModel) -> None:
    # No process may write a longer file: the disk refuses in the middle, as a full one does.
    code, error = place.download(largest_file=1_500_000)

    assert code == 1
    assert f"the disk of {place.folder / 'home' / 'hub'} is full" in error
    assert not place.file(model, "a.safetensors").exists()
    assert 0 < max(part.stat().st_size for part in place.parts()) <= 1_500_000

    kept = (place.cache / "blobs" / f"{sha256(FIRST)}.incomplete").stat().st_size
    assert place.download() == (0, "")
    assert [asked.start for asked in place.hub.bodies("a.safetensors")] == [0, kept]


def test_a_part_with_other_bytes_does_not_spoil_the_file(place: Place, model: LockedModel) -> None:
    blobs = place.cache / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha256(FIRST)}.incomplete").write_bytes(b"x" * 1000)

    assert place.download() == (0, "")

    assert place.file(model, "a.safetensors").read_bytes() == FIRST


def test_a_file_that_was_cut_short_in_the_cache_is_fetched_again(place: Place, model: LockedModel) -> None:
    assert place.download() == (0, "")
    os.truncate(place.file(model, "a.safetensors"), 1000)

    assert place.download() == (0, "")

    assert place.file(model, "a.safetensors").read_bytes() == FIRST


def damaged(place: Place, model: LockedModel) -> Path:
    """A large file with one wrong byte, as long as it should be."""
    assert place.download() == (0, "")
    blob = place.file(model, "a.safetensors").resolve()
    blob.write_bytes(SECOND[:1] + FIRST[1:])
    return blob


def test_a_damaged_file_is_fetched_again_and_nothing_else_is(place: Place, model: LockedModel) -> None:
    damaged(place, model)

    assert place.download() == (0, "")

    assert place.file(model, "a.safetensors").read_bytes() == FIRST
    assert len(place.hub.bodies("a.safetensors")) == 2
    assert len(place.hub.bodies("b.safetensors")) == 1


def test_a_damaged_file_stays_and_is_named_while_the_hub_is_away(place: Place, model: LockedModel) -> None:
    blob = damaged(place, model)
    place.hub.fail(Fault("a.safetensors", status=503, times=99))

    code, error = place.download()

    assert code == 1
    assert f"{place.file(model, 'a.safetensors')} is damaged" in error
    assert "cannot download a.safetensors of [models.small]" in error
    assert blob.exists()


def test_a_cache_that_cannot_be_written_is_named(place: Place, model: LockedModel) -> None:
    (place.folder / "home").write_text("")

    code, error = place.download()

    assert code == 1
    assert f"{place.folder / 'home' / 'hub'} cannot be written" in error
    assert "HF_HOME" in error
