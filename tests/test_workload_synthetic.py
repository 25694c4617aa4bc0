"""Prompts of an exact length: for each kind of tokenizer and endpoint the whole count is what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from benchmarks.workload.arrival import Kind, Prompt
from benchmarks.workload.shape import Segment, Shape
from benchmarks.workload.synthetic import Synthetic, filled, shared_prefix_in
from benchmarks.workload.tokenizer import Folder
from benchmarks.workload.words import learned
from tests import vocabularies

LENGTHS = (20, 21, 33, 64, 257, 1000)
MAKERS = {"byte-level": vocabularies.byte_level, "spaced": vocabularies.spaced, "crossing": vocabularies.crossing}


@pytest.fixture(scope="module", params=MAKERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vocabularies.folder_of(MAKERS[request.param](), tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(vocabularies.folder_of(vocabularies.byte_level(), tmp_path_factory.mktemp("models") / "model"))


def counted(folder: Path, prompt: Prompt, kind: Kind) -> int:
    """What a server would count, by the library and the template as it stands, without our door."""
    library = Library.from_file(str(folder / "tokenizer.json"))
    if kind is not Kind.CHAT:
        return len(library.encode(prompt.content).ids)
    whole = f"<s><|user|>\n{prompt.content}<|end|><|assistant|>"
    return len(library.encode(whole, add_special_tokens=False).ids)


def text_of(prompt: Prompt) -> str:
    assert isinstance(prompt.content, str)
    return prompt.content


@pytest.mark.parametrize("kind", [Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_a_prompt_has_the_length_that_was_asked_for(folder: Path, kind: Kind, tokens: int) -> None:
    synthetic = Synthetic(Folder(folder), kind, seed=1)
    for _ in range(10):
        prompt = synthetic.prompt(tokens)
        assert (prompt.tokens, counted(folder, prompt, kind)) == (tokens, tokens)


def test_the_count_told_is_true_even_where_the_length_cannot_be_had(folder: Path) -> None:
    prompt = Synthetic(Folder(folder), Kind.CHAT, seed=1).prompt(1)
    assert prompt.tokens == counted(folder, prompt, Kind.CHAT) > 1


def test_words_add_up_where_no_token_spans_them_and_only_there(folder: Path) -> None:
    assert learned(Folder(folder), Kind.COMPLETION).additive is (folder.name != "crossing")


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(30, 400), shared=st.integers(1, 500), seed=st.integers(0, 2**64))
def test_shared_segments_leave_the_length_and_begin_alike(
    byte_level: Folder, tokens: int, shared: int, seed: int
) -> None:
    synthetic = Synthetic(byte_level, Kind.CHAT, seed=seed)
    first, second = (text_of(synthetic.prompt(tokens, [Segment("a", shared)])).split() for _ in range(2))
    room = tokens - synthetic.overhead
    alike = min(shared, room)
    assert len(first) == len(second) == room
    assert first[:alike] == second[:alike]
    # Beyond the segment they part within a few words: each word is one of hundreds.
    assert alike > room - 5 or first[alike:] != second[alike:]


def test_blocks_make_prefixes_as_long_as_the_run_that_two_prompts_have_in_common(byte_level: Folder) -> None:
    synthetic = Synthetic(byte_level, Kind.COMPLETION, seed=1)
    blocks = {name: Segment(name, 16) for name in "abc"}
    first = text_of(synthetic.prompt(60, [blocks["a"], blocks["b"]])).split()
    second = text_of(synthetic.prompt(60, [blocks["a"], blocks["c"]])).split()
    third = text_of(synthetic.prompt(60, [blocks["c"], blocks["b"]])).split()
    assert first[:16] == second[:16] != third[:16]
    assert first[16:32] != second[16:32]


def test_prompts_differ_from_each_other_and_from_those_of_another_seed(byte_level: Folder) -> None:
    made = [text_of(Synthetic(byte_level, Kind.CHAT, seed=seed).prompt(40)) for seed in range(10)]
    one = Synthetic(byte_level, Kind.CHAT, seed=1)
    made += [text_of(one.prompt(40)) for _ in range(500)]
    assert len(set(made)) == len(made) - 1
    assert len({text.split()[0] for text in made}) > 100


def test_shared_prefixes_are_others_with_another_seed(byte_level: Folder) -> None:
    shared = [Segment("a", 30)]
    made = {text_of(Synthetic(byte_level, Kind.COMPLETION, seed=seed).prompt(20, shared)) for seed in (1, 1, 2, 3)}
    assert len(made) == 3


def test_token_ids_are_as_many_as_asked_for_and_of_words(byte_level: Folder) -> None:
    synthetic = Synthetic(byte_level, Kind.COMPLETION, seed=1, as_ids=True)
    prompt = synthetic.prompt(100, [Segment("a", 60)])
    assert isinstance(prompt.content, tuple)
    assert (len(prompt.content), prompt.tokens) == (100, 100)
    assert min(prompt.content) >= len(vocabularies.SPECIAL)
    again = synthetic.prompt(100, [Segment("a", 60)]).content
    assert again[:60] == prompt.content[:60]
    assert again[60:] != prompt.content[60:]


def test_chat_takes_no_token_ids(byte_level: Folder) -> None:
    with pytest.raises(ValueError, match="chat takes only text"):
        Synthetic(byte_level, Kind.CHAT, seed=1, as_ids=True)


def test_a_text_of_a_trace_is_kept_and_counted(byte_level: Folder) -> None:
    shapes = [Shape(0.0, 40), Shape(1.0, 40, text="the end of the day")]
    (_, made), (_, kept) = filled(shapes, Synthetic(byte_level, Kind.COMPLETION, seed=1))
    assert made.tokens == 40
    assert (kept.content, kept.tokens) == (
        "the end of the day",
        *byte_level.counts(["the end of the day"], Kind.COMPLETION),
    )


def test_a_tokenizer_without_words_of_one_token_is_refused() -> None:
    class Letters:
        name = "letters"

        def candidates(self) -> Sequence[str]:
            return ["some", "words"]

        def counts(self, texts: Sequence[str], kind: Kind) -> list[int]:
            return [len(text) for text in texts]

        def ids(self, words: Sequence[str]) -> list[int]:
            return [0 for _ in words]

        def splits(self, words: Sequence[str]) -> bool:
            return False

    with pytest.raises(ValueError, match="letters: it has hardly a word of one token"):
        Synthetic(Letters(), Kind.CHAT, seed=1)


def test_a_shared_prefix_reads_back_as_it_was_written() -> None:
    assert str(shared_prefix_in("512:8")) == str(shared_prefix_in("prefix=512:8")) == "512:8"
    assert shared_prefix_in("512").pool == 1


@pytest.mark.parametrize("text", ["", "512:0", "0:8", "a:b", "512:-1", "1.5:2"])
def test_a_wrong_shared_prefix_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="TOKENS:POOL"):
        shared_prefix_in(text)


def broken_folders(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    yield tmp_path, "there is no tokenizer.json"
    yield tmp_path / "nowhere", "there is no tokenizer.json"
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "tokenizer.json").write_text("{")
    yield torn, "tokenizer.json: "
    wrong = vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "wrong", template="{% if %}")
    yield wrong, "wrong: the chat template cannot be compiled"


def test_a_folder_that_cannot_be_read_gets_a_sentence(tmp_path: Path) -> None:
    for folder, said in broken_folders(tmp_path):
        with pytest.raises(ValueError, match=said):
            Folder(folder)


def test_chat_without_a_template_is_refused_and_completions_are_not(tmp_path: Path) -> None:
    made = Folder(vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model", template=""))
    assert Synthetic(made, Kind.COMPLETION, seed=1).prompt(30).tokens == 30
    with pytest.raises(ValueError, match="no chat template"):
        Synthetic(made, Kind.CHAT, seed=1)


def test_a_template_that_refuses_says_so(tmp_path: Path) -> None:
    template = "{{ raise_exception('only tools speak here') }}"
    made = Folder(vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model", template=template))
    with pytest.raises(ValueError, match="only tools speak here"):
        made.counts(["hello"], Kind.CHAT)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
        "{{ messages[0]['content'] }}{{ '' if strftime_now('%Y') else 'never' }}",
        "{% if true %}\n    {% if true %}\n{{ messages[0].content }}{% endif %}{% endif %}",
        "{{ messages[0].content | tojson | replace('\"', '') }}",
    ],
)
def test_templates_may_use_what_the_usual_library_gives_them(tmp_path: Path, template: str) -> None:
    made = Folder(vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model", template=template))
    assert made.counts(["about above across"], Kind.CHAT) == [3]


def test_a_template_may_stand_in_the_configuration_by_name(tmp_path: Path) -> None:
    folder = vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model", template="")
    (folder / "tokenizer_config.json").write_text(
        '{"bos_token": "<s>", "chat_template": [{"name": "tools", "template": "no"},'
        ' {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}]}'
    )
    assert Folder(folder).counts(["about above"], Kind.CHAT) == [3]
