"""How GPUs reach each other, as the driver tells it."""

from pathlib import Path as File

import pytest

from benchmarks.double.nvml_double import (
    Double,
    Wire,
    pair,
)
from engines.gpus.gpu import Link, Path
from tests.gpu_readings import card, cards, read_once


def test_nvlinks_are_counted_between_each_two(tmp_path: File) -> None:
    three = cards(3)
    double = Double(tmp_path, three)
    double.change(wires=(Wire(0, 1, 30, nvlinks=4), Wire(0, 2, 50, can_read=False), Wire(1, 2, 30, nvlinks=0)))
    links = {gpu.uuid: gpu.links for gpu in read_once(double.env).seen}
    assert links["GPU-0"] == (Link("GPU-1", Path.NVLINK, 4, True), Link("GPU-2", Path.SYSTEM, 0, False))
    assert links["GPU-1"] == (Link("GPU-0", Path.NVLINK, 4, True), Link("GPU-2", Path.HOST_BRIDGE, 0, True))


def test_through_switches_all_links_of_a_card_reach_each_other(tmp_path: File) -> None:
    four = [*cards(3, switch_links=18), card(3)]
    double = Double(tmp_path, four)
    double.change(wires=pair(four, level=40))
    seen = read_once(double.env).seen
    assert {(link.path, link.nvlinks) for link in seen[0].links[:2]} == {(Path.NVLINK, 18)}
    assert seen[0].links[2] == Link("GPU-3", Path.NUMA_NODE, 0, True)


@pytest.mark.parametrize(("level", "path"), list(zip(range(0, 60, 10), list(Path)[1:], strict=True)))
def test_the_way_over_pcie_is_told(double: Double, level: int, path: Path) -> None:
    double.change(wires=(Wire(0, 1, level),))
    assert [link.path for gpu in read_once(double.env).seen for link in gpu.links] == [path, path]


def test_links_that_are_not_told_are_no_links(double: Double) -> None:
    assert [gpu.links for gpu in read_once(double.env).seen] == [(), ()]
