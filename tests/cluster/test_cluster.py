"""The cluster files are valid by the schemas of those who read them, and agree with this checkout."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml

from shotlake.config import config_dir, load_config
from shotlake.report.prices import load_prices

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "cluster"
CHECKER = REPOSITORY.parent / "shared" / "tools" / "check_kuberay.py"


def constraint(package):
    return re.search(rf"(?m)^{package}==(\S+)$", (REPOSITORY / "constraints.txt").read_text()).group(1)


def rayjob():
    return yaml.safe_load((CLUSTER / "kuberay" / "rayjob.yaml").read_text())["spec"]


def test_the_rayjob_is_valid_by_kuberays_schema():
    if not CHECKER.exists():
        pytest.skip("KubeRay's schemas are not beside this checkout")
    done = subprocess.run(
        [sys.executable, CHECKER, CLUSTER / "kuberay" / "rayjob.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_ray_up_file_is_valid_by_rays_schema():
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    tree = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    jsonschema.validate(tree, schema)
    assert tree["head_node_type"] in tree["available_node_types"]


def test_ray_is_the_same_version_everywhere():
    base = re.search(r"FROM rayproject/ray:([\d.]+)-py311", (CLUSTER / "Dockerfile").read_text()).group(1)
    assert base == rayjob()["rayClusterSpec"]["rayVersion"] == constraint("ray")


def test_the_image_copies_only_what_exists_and_both_accelerators_are_extras():
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    copied = [line.split()[2:-1] for line in dockerfile.splitlines() if line.startswith("COPY")]
    assert all((REPOSITORY / path).exists() for paths in copied for path in paths)
    extras = (REPOSITORY / "pyproject.toml").read_text()
    assert re.search(r"(?m)^cpu = ", extras) and re.search(r"(?m)^gpu = ", extras)


def test_the_entrypoint_names_a_job_and_a_configuration_that_exist():
    words = rayjob()["entrypoint"].split()
    job, config = words[1], words[words.index("--config") + 1]
    assert (REPOSITORY / job).is_file()
    load_config(str(REPOSITORY / config), [words[words.index("--set") + 1]], environ={})


def test_the_gpu_group_is_the_instance_that_the_production_configuration_prices():
    config = load_config(str(config_dir() / "archive.yaml"), environ={})
    groups = {group["groupName"]: group["template"]["spec"] for group in rayjob()["rayClusterSpec"]["workerGroupSpecs"]}
    types = {name: spec["nodeSelector"]["node.kubernetes.io/instance-type"] for name, spec in groups.items()}
    assert types["embed"] == config.report.instance
    up = yaml.safe_load((CLUSTER / "aws.yaml").read_text())["available_node_types"]
    assert {name: up[name]["node_config"]["InstanceType"] for name in types} == types
    book = load_prices(config.report)
    assert all(book.price_of(instance) for instance in types.values())
