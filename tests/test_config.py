"""Every wrong word of a configuration is answered with the path of its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from shotlake.config import Config, field_paths, load_config
from shotlake.errors import ConfigError


def test_yaml_gives_way_to_environment_and_environment_to_set(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("lake: /a\nembed: {model: from-file, batch_size: 1}\nindex:\n  exact_below: 5\n")
    environ = {
        "SHOTLAKE_EMBED__MODEL": "from-env",
        "SHOTLAKE_EMBED__BATCH_SIZE": "2",
        "SHOTLAKE_OTHER": "x",
        "HOME": "/",
    }
    config = load_config(str(file), ["embed.batch_size=3"], environ)
    assert (config.lake, config.embed.model, config.embed.batch_size) == ("/a", "from-env", 3)
    assert config.index.exact_below == 5
    assert load_config(environ={"SHOTLAKE_LAKE": "s3://b/lake"}).lake == "s3://b/lake"
    assert load_config(environ={}) == Config()


@pytest.mark.parametrize("text", ["0123", "1e5", "2026-01-01", "null", "[a", ""])
def test_a_text_field_takes_the_text_as_it_stands(text: str) -> None:
    assert load_config(sets=[f"embed.revision={text}"], environ={}).embed.revision == text


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("embed.modle=x", "unknown key embed.modle: did you mean embed.model?"),
        ("foo=1", "unknown key foo: `shotlake config schema` lists all keys"),
        (
            "catalog.unit_s=10min",
            "catalog.unit_s is '10min': give a plain number of seconds, without a unit behind it",
        ),
        ("serve.max_body_bytes=1 MB", "serve.max_body_bytes is '1 MB': give a plain number of bytes"),
        ("index.target_recall=95", "index.target_recall is 95: input should be less than or equal to 1"),
        ("embed.device=gpu", "embed.device is 'gpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("index.spaces=[fused, smell]", "index.spaces is 'smell'"),
        ("embed=3", "embed is 3: it is a section; set a key of it, such as embed.model"),
        ("embed.model.x=3", "embed.model is {'x': 3}"),
        ("flow.num_cpus=[1", "flow.num_cpus is '[1', which is not a valid value"),
        ("nothing", "--set 'nothing' has no '='"),
    ],
)
def test_the_sentence_names_the_key_its_value_and_what_is_allowed(item: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(sets=[item], environ={})
    assert caught.value.message.startswith(sentence)
    assert caught.value.exit_status == 2
    assert "\n" not in caught.value.message


def test_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigError, match="SHOTLAKE_FLOW__NUM_CPUS is"):
        load_config(environ={"SHOTLAKE_FLOW__NUM_CPUS": "[1"})


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not valid YAML at line"), ("- a\n", "holds a list"), ("embed:\n  model: 3\n", "embed.model is 3")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(str(file), environ={})
    with pytest.raises(ConfigError, match="cannot read the config file"):
        load_config(str(tmp_path / "none.yaml"), environ={})


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert load_config(str(tmp_path / "c.yaml"), environ={}) == Config()


def test_every_key_has_a_description() -> None:
    paths = field_paths()
    assert "embed.model" in paths and "lake" in paths
    assert [path for path, description in paths.items() if not description] == []


def test_the_digest_follows_every_value() -> None:
    changed = load_config(sets=["query.limit=11"], environ={})
    assert Config().digest() == load_config(environ={}).digest() != changed.digest()


def test_a_section_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().embed.model = "x"  # type: ignore[misc]
