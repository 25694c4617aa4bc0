"""Answers that come whole, so that nobody says when they begin; and what other processes of this router have there."""

from __future__ import annotations

import pytest

from engines.snapshot import Load
from router.spilling.load import EngineLoad
from router.spilling.slow_start import START
from router.spilling.speeds import Speeds, Tempo
from tests.sluiced import ANSWERS, KV_TOKENS, warm

TEMPO = Tempo.given(10_000, 50)


@pytest.fixture
def load() -> EngineLoad:
    return warm(EngineLoad(Speeds(TEMPO), KV_TOKENS, now_s=-101.0))


def test_a_whole_answer_begins_when_its_prompt_should_have_been_read(load: EngineLoad) -> None:
    stay = load.sent(1000, 0.0, lengths=ANSWERS, shows_first=False)
    before = load.standing(0.05)
    assert (before.sequences, before.waiting) == (0, 1)
    after = load.standing(1.1)
    assert (after.sequences, after.waiting, after.unread_tokens) == (1, 0, 0.0)
    assert stay.first_s == pytest.approx(0.1, rel=0.1)
    assert load.so_far(stay) == pytest.approx(50, rel=0.1)
    assert load.kv_tokens == pytest.approx(1050, rel=0.02)


def test_several_of_them_begin_one_after_the_other_and_all_end(load: EngineLoad) -> None:
    stays = [load.sent(1000, 0.0, shows_first=False) for _ in range(3)]
    assert [load.standing(at_s).sequences for at_s in (0.05, 0.15, 0.25, 0.5)] == [0, 1, 2, 3]
    for stay in stays:
        load.ended(stay, 40, 1.0)
    standing = load.standing(1.0)
    assert (standing.sequences, standing.kv_tokens, standing.waiting_tokens) == (0, 0.0, 0)


def test_when_a_first_token_is_seen_whoever_was_sent_before_has_begun_too(load: EngineLoad) -> None:
    whole = load.sent(4000, 0.0, shows_first=False)
    seen = load.sent(100, 0.0)
    load.began(seen, 0.2)
    assert load.standing(0.2).sequences == 2
    assert whole.first_s == 0.2


def test_one_that_ends_before_it_should_have_begun_leaves_nothing(load: EngineLoad) -> None:
    stay = load.sent(4000, 0.0, shows_first=False)
    load.ended(stay, 1, 0.1)
    standing = load.standing(0.2)
    assert (standing.sequences, standing.waiting, standing.unread_tokens) == (0, 0, 0.0)


def test_nothing_is_learned_from_a_beginning_that_nobody_saw(load: EngineLoad) -> None:
    tempo, seen = load.speeds.tempo, load.speeds.observations
    for number in range(50):
        stay = load.sent(1000, number * 10.0, predicted_ttft_s=0.1, shows_first=False)
        load.began(stay, number * 10.0 + 8.0)
        load.ended(stay, 100, number * 10.0 + 9.0)
    assert load.speeds.tempo == tempo
    assert load.speeds.observations == seen
    assert load.accuracy.count == 0


def test_where_there_is_no_room_for_it_it_does_not_begin(load: EngineLoad) -> None:
    first = load.sent(9000, 0.0)
    load.began(first, 0.9)
    load.sent(2000, 1.0, shows_first=False)
    assert load.standing(5.0).is_blocked
    load.ended(first, 10, 5.0)
    assert load.standing(6.0).sequences == 1


def test_what_other_processes_of_this_router_have_there_counts_like_ones_own(load: EngineLoad) -> None:
    alone_s = load.standing(0.0).ttft_s(1000)
    load.beside(running=3, waiting=2, unread_tokens=1500.0, kv_tokens=6000.0)
    standing = load.standing(0.0)
    assert (standing.others_sequences, standing.others_waiting, standing.unread_tokens) == (3, 2, 1500.0)
    assert standing.room_tokens == KV_TOKENS - 6000 - 1500
    assert standing.ttft_s(1000) > 2 * alone_s
    load.beside(running=0, waiting=0, unread_tokens=0.0, kv_tokens=0.0)
    assert load.standing(0.0).ttft_s(1000) == pytest.approx(alone_s)


def test_they_are_no_strangers_in_what_the_engine_reports(load: EngineLoad) -> None:
    load.beside(running=3, waiting=1, unread_tokens=100.0, kv_tokens=5000.0)
    load.standing(0.5)
    load.standing(1.0)
    load.reported(Load(5, 1, 0.55, KV_TOKENS, 0, 0, 0, 0.1), 1.0)
    standing = load.standing(1.0)
    assert (load.others.strangers.running, load.others.strangers.waiting) == (1, 1)
    assert standing.others_sequences == 4
    assert standing.others_kv_tokens == pytest.approx(5500, abs=1)


def test_a_new_engine_takes_a_few_and_more_with_each_that_it_serves() -> None:
    load = EngineLoad(Speeds(TEMPO), None, most_sequences=8)
    taken = []
    for number in range(4):
        taken.append(load.standing(number * 0.01).takes_sequences)
        stay = load.sent(10, number * 0.01)
        load.began(stay, number * 0.01 + 0.005)
    assert taken == [START, START + 2, 8, 8]
    assert load.standing(9.0).most_sequences == 8


def test_whole_answers_warm_it_up_when_they_end() -> None:
    load = EngineLoad(Speeds(TEMPO), None)
    load.ended(load.sent(10, 0.0, shows_first=False), 5, 0.01)
    assert load.standing(0.01).takes_sequences == START + 2
    load.ended(load.sent(10, 0.02, shows_first=False), None, 0.03)
    assert load.standing(0.03).takes_sequences == START + 2


def test_a_second_after_it_has_come_an_engine_is_given_many_though_nobody_has_an_answer_yet() -> None:
    load = EngineLoad(Speeds(TEMPO), None, most_sequences=100)
    load.sent(10, 5.0, shows_first=False)
    assert [load.standing(5.0 + after_s).takes_sequences for after_s in (0.0, 0.5, 1.0, 2.0)] == [4, 16, 64, 100]
