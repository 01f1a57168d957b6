"""Every shipped configuration is valid, and names what it has to name."""

import pytest

from shotlake.config import config_dir, load_config
from shotlake.report.prices import load_prices


@pytest.mark.parametrize("name", ["demo", "archive", "serve"])
def test_shipped_configurations_load(name):
    config = load_config(str(config_dir() / f"{name}.yaml"), environ={})
    load_prices(config.report).price_of(config.report.instance)


def test_the_production_configuration_names_a_real_model_and_a_bucket():
    config = load_config(str(config_dir() / "archive.yaml"), environ={})
    assert config.embed.model == "facebook/pe-av-base-16-frame"
    assert config.lake.startswith("s3://")


def test_the_service_listens_on_loopback():
    assert load_config(str(config_dir() / "serve.yaml"), environ={}).serve.host == "127.0.0.1"
