"""GPUs that are not here, declared by the name of their card: `8xH100-80GB`, `1xRTX4090`, `2x48GB@8.9`.

A plan for them is as good as the table: what the driver would report, from listings of such cards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from engines.errors import SpillwayError
from engines.gpus.gpu import Capability, Gpu, Gpus, Link, Path

MIB = 2**20
MOST_DECLARED = 64


class CardError(SpillwayError, ValueError):
    """A declaration that names no GPUs; the message says how one is written."""


@dataclass(frozen=True, slots=True)
class Card:
    """What NVML reports of a card. `cuda_mib` is the total that CUDA shows: NVML's less what the driver keeps.

    `nvlinks`: those of one GPU; `island`: how many GPUs they join. `peers`: whether GPUs without NVLink between them
    may read each other's memory over PCIe: GeForce cards may not. `mig_gb`: the memory of one of the eight slices that
    MIG makes, in NVIDIA's GB, or None where MIG is not possible or its sizes were not found.
    """

    name: str
    total_mib: int
    cuda_mib: int | None
    capability: Capability
    nvlinks: int = 0
    island: int = 1
    peers: bool = True
    mig_gb: int | None = None


# Totals: nvidia-smi's listings of these cards, most of them found many times over. What CUDA shows moves with the
# driver by up to 0.2 GiB; here is the least of the usual ones, from PyTorch's "total capacity of ... GiB" for A100, L4,
# L40S, H100, H100 NVL, H200, B200, A6000, RTX 6000 Ada, RTX PRO 6000 and RTX 5090, and from llama.cpp's "VRAM: ... MiB"
# for V100 32 GB, T4, RTX 3090 and RTX 4090. Of V100 16 GB, A10, A10G, RTX 4080, H20 and GH200 no listing that names the
# card was found: these are from cards like them, within 1 %. Capabilities and NVLinks: NVIDIA's list of CUDA GPUs and
# the datasheets of the SXM cards. MIG slices: NVIDIA MIG User Guide.
CARDS: dict[str, Card] = {
    "V100-16GB": Card("Tesla V100-SXM2-16GB", 16384, 16160, (7, 0), nvlinks=6, island=8),
    "V100-32GB": Card("Tesla V100-SXM2-32GB", 32768, 32494, (7, 0), nvlinks=6, island=8),
    "T4": Card("Tesla T4", 15360, 14912, (7, 5)),
    "A100-40GB": Card("NVIDIA A100-SXM4-40GB", 40960, 40325, (8, 0), nvlinks=12, island=8, mig_gb=5),
    "A100-80GB": Card("NVIDIA A100-SXM4-80GB", 81920, 81049, (8, 0), nvlinks=12, island=8, mig_gb=10),
    "A100-PCIE-40GB": Card("NVIDIA A100-PCIE-40GB", 40960, 40325, (8, 0), mig_gb=5),
    "A100-PCIE-80GB": Card("NVIDIA A100 80GB PCIe", 81920, 81049, (8, 0), mig_gb=10),
    "A10": Card("NVIDIA A10", 23028, 22559, (8, 6)),
    "A10G": Card("NVIDIA A10G", 23028, 22559, (8, 6)),
    "A6000": Card("NVIDIA RTX A6000", 49140, 48671, (8, 6)),
    "RTX3090": Card("NVIDIA GeForce RTX 3090", 24576, 24121, (8, 6), peers=False),
    "RTX4080": Card("NVIDIA GeForce RTX 4080", 16376, 16048, (8, 9), peers=False),
    "RTX4090": Card("NVIDIA GeForce RTX 4090", 24564, 24080, (8, 9), peers=False),
    "RTX5090": Card("NVIDIA GeForce RTX 5090", 32607, 32117, (12, 0), peers=False),
    "L4": Card("NVIDIA L4", 23034, 22558, (8, 9)),
    "L40S": Card("NVIDIA L40S", 46068, 45455, (8, 9)),
    "RTX6000Ada": Card("NVIDIA RTX 6000 Ada Generation", 49140, 48506, (8, 9)),
    "H100-80GB": Card("NVIDIA H100 80GB HBM3", 81559, 81008, (9, 0), nvlinks=18, island=8, mig_gb=10),
    "H100-PCIE-80GB": Card("NVIDIA H100 PCIe", 81559, 81008, (9, 0), mig_gb=10),
    "H100-NVL": Card("NVIDIA H100 NVL", 95830, 95232, (9, 0), nvlinks=12, island=2),
    "H20": Card("NVIDIA H20", 97871, 97280, (9, 0), nvlinks=18, island=8),
    "H200": Card("NVIDIA H200", 143771, 143073, (9, 0), nvlinks=18, island=8),
    "GH200": Card("NVIDIA GH200 480GB", 97871, 96768, (9, 0)),
    "B200": Card("NVIDIA B200", 183359, 182630, (10, 0), nvlinks=18, island=8),
    "RTXPRO6000": Card("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, 97249, (12, 0)),
}
# Other spellings of the above, as `_key` writes them. The plain name of a family means its SXM card, the larger one.
ALIASES = {
    "h100": "H100-80GB",
    "h100sxm": "H100-80GB",
    "h100pcie": "H100-PCIE-80GB",
    "a100": "A100-80GB",
    "a100sxm40gb": "A100-40GB",
    "a100sxm80gb": "A100-80GB",
    "v100": "V100-32GB",
}
# The memory of MIG instances by their nominal GB, in MiB: from `nvidia-smi mig -lgip` of an H100 80GB (9.75, 19.62,
# 39.50 and 79.25 GiB) and from what CUDA shows of 1g.5gb on an A100 40GB (4.75 GiB).
_MIG_MIB = {5: 4864, 10: 9984, 20: 20090, 40: 40448, 80: 81152}
# Slices of compute (of seven) with slices of memory (of eight) that can be had together (NVIDIA MIG User Guide,
# "Supported MIG Profiles", A100 and H100).
_MIG_PROFILES = {(1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)}

_ITEM = re.compile(r"(?:(?P<count>\d+)\s*[x*]\s*)?(?P<card>[^/@]+?)(?:@(?P<capability>[^/]+))?(?:/(?P<mig>\S+))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*gi?b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Item:
    """One part of a declaration: so many of a card, whole (`per_card` is None) or of its MIG instances."""

    count: int
    card: Card
    per_card: int | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """One GPU of a declaration: the `nth` of its item."""

    uuid: str
    item: _Item
    nth: int


def declared(text: str) -> Gpus:
    """The GPUs of a declaration such as `4xL4,1xA100-40GB`, nothing used on any. Raises CardError."""
    items = [_item(part.strip()) for part in text.split(",")]
    if sum(item.count for item in items) > MOST_DECLARED:
        raise CardError(f"{text!r} declares more than {MOST_DECLARED} GPUs")
    each = [(item, nth) for item in items for nth in range(item.count)]
    places = [_Place(f"{_kind(item)}-declared-{number}", item, nth) for number, (item, nth) in enumerate(each)]
    return Gpus(tuple(_gpu(place, places) for place in places), None)


def _kind(item: _Item) -> str:
    return "GPU" if item.per_card is None else "MIG"


def _gpu(place: _Place, places: Sequence[_Place]) -> Gpu:
    card, per_card = place.item.card, place.item.per_card
    reserved = None if card.cuda_mib is None else (card.total_mib - card.cuda_mib) * MIB
    first = places.index(place) - place.nth
    links = [_link(place, peer) for peer in places if peer is not place] if per_card is None else []
    return Gpu(
        uuid=place.uuid,
        name=card.name,
        total_bytes=card.total_mib * MIB,
        used_bytes=0,
        free_bytes=card.total_mib * MIB - (reserved or 0),
        reserved_bytes=reserved,
        capability=card.capability,
        links=tuple(link for link in links if link),
        parent_uuid=None if per_card is None else f"GPU-declared-{first}-{place.nth // per_card}",
        is_declared=True,
    )


def _link(place: _Place, peer: _Place) -> Link | None:
    if peer.item.per_card is not None:
        return None
    card, is_same = place.item.card, peer.item is place.item
    if is_same and card.nvlinks and place.nth // card.island == peer.nth // card.island:
        return Link(peer.uuid, Path.NVLINK, card.nvlinks, True)
    # Whether cards of different models may read each other depends on the machine.
    return Link(peer.uuid, Path.HOST_BRIDGE, 0, card.peers if is_same else None)


def _item(part: str) -> _Item:
    written = _ITEM.fullmatch(part)
    if not written:
        raise CardError(
            f"{part!r} is no GPU: write COUNTxCARD, such as 8xH100-80GB, or COUNTxMEMORY@CAPABILITY, such as 2x48GB@8.9"
        )
    count = int(written["count"] or 1)
    if count < 1:
        raise CardError(f"{part!r} declares no GPU: write a count of at least 1")
    card = _card(part, written["card"], written["capability"])
    return _divided(part, count, card, written["mig"]) if written["mig"] else _Item(count, card)


def _card(part: str, name: str, capability: str | None) -> Card:
    if memory := _MEMORY.fullmatch(name):
        return _unlisted(part, float(memory[1]), capability)
    names = {_key(card.name): card for card in CARDS.values()} | {_key(known): card for known, card in CARDS.items()}
    names |= {alias: CARDS[known] for alias, known in ALIASES.items()}
    card = names.get(_key(name))
    if card is None:
        raise CardError(_unknown(name))
    return card if capability is None else replace(card, capability=_capability(part, capability))


def _unlisted(part: str, gib: float, capability: str | None) -> Card:
    """A card of which only memory and capability are known. A GB is 2**30 bytes here, as makers of cards count them."""
    if capability is None:
        raise CardError(f"{part!r} lacks the compute capability: write {part}@8.9 for one of capability 8.9")
    if gib <= 0:
        raise CardError(f"{part!r} declares a card without memory")
    return Card(f"card of {gib:g} GB", round(gib * 1024), None, _capability(part, capability))


def _capability(part: str, text: str) -> Capability:
    written = re.fullmatch(r"(\d+)\.(\d+)", text)
    if not written:
        raise CardError(f"{part!r}: {text!r} is no compute capability such as 8.9")
    return int(written[1]), int(written[2])


def _divided(part: str, count: int, card: Card, profile: str) -> _Item:
    """`count` MIG instances, as many on one card as fit."""
    possible = {f"{g}g.{slices * (card.mig_gb or 0)}gb": (g, slices) for g, slices in sorted(_MIG_PROFILES)}
    if card.mig_gb is None:
        known = ", ".join(name for name, one in CARDS.items() if one.mig_gb)
        raise CardError(f"{part!r}: MIG instances can be declared of {known}, not of {card.name}")
    if profile.lower() not in possible:
        raise CardError(f"{part!r}: {profile!r} is no MIG profile of {card.name}, which has {', '.join(possible)}")
    computes, slices = possible[profile.lower()]
    part_mib = _MIG_MIB[slices * card.mig_gb]
    name = f"{card.name} MIG {profile.lower()}"
    return _Item(count, replace(card, name=name, total_mib=part_mib, cuda_mib=None), min(7 // computes, 8 // slices))


def _unknown(name: str) -> str:
    keys = {_key(known): known for known in CARDS} | ALIASES
    alike = [key for key in keys if key[:1] == _key(name)[:1]]
    near = dict.fromkeys(keys[key] for key in get_close_matches(_key(name), alike, n=3, cutoff=0.5))
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"{name!r} is no card in the table. {hint}Known: {', '.join(CARDS)}. "
        "Any other is declared by its memory and compute capability: 2x48GB@8.9"
    )


def _key(name: str) -> str:
    """A name without what people spell differently: case, blanks, dashes, and the words of maker and family."""
    return re.sub(r"[^a-z0-9]|nvidia|geforce|tesla|rtx", "", name.lower())
