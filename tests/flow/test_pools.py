"""Pool sizes: whatever the machine, all actors fit beside each other, or Ray would wait for ever."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from shotlake.config import Config, DecodeConfig, EmbedConfig, FlowConfig
from shotlake.flow import pools as pools_module
from shotlake.flow.pools import WRITE_CPU, size_pools


@pytest.mark.parametrize("cpus", [1, 2, 4, 16, 96, 1024])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_all_actors_fit_beside_each_other(cpus: int, gpus: int) -> None:
    pools = size_pools(cpus, min(gpus, cpus), Config())
    assert pools.decode_actors >= 1 and pools.embed_actors >= 1
    reserved = pools.decode_actors * pools.decode_cpu + pools.embed_actors * pools.embed_cpu + WRITE_CPU
    assert reserved <= cpus + 1e-6
    assert pools.embed_actors * pools.embed_gpu <= gpus


@pytest.mark.parametrize("embed", ["auto", "cpu"])
@pytest.mark.parametrize(("cpus", "gpus"), [(2, 1), (16, 1), (12, 8), (96, 8)])
def test_decoders_with_nvdec_fit_on_every_gpu_beside_its_embedder(cpus: int, gpus: int, embed: str) -> None:
    pools = size_pools(cpus, gpus, Config(decode=DecodeConfig(device="nvdec"), embed=EmbedConfig(device=embed)))
    on_a_gpu = -(-pools.decode_actors // gpus)
    assert pools.decode_gpu > 0 and on_a_gpu * pools.decode_gpu + pools.embed_gpu <= 1
    assert bool(pools.embed_gpu) == (embed == "auto")
    assert size_pools(cpus, 0, Config(decode=DecodeConfig(device="nvdec"))).decode_gpu == 0


def test_the_configuration_has_the_last_word() -> None:
    pools = size_pools(8, 0, Config(flow=FlowConfig(decode_actors=3, embed_actors=2)))
    assert (pools.decode_actors, pools.embed_actors) == (3, 2)


@pytest.mark.parametrize(
    ("trouble", "tries", "ends"),
    [([], 1, ""), ([pools_module.LATE], 2, ""), ([pools_module.LATE] * 3, 3, "startup"), (["no such host"], 1, "host")],
)
def test_ray_that_was_too_slow_to_start_is_started_again(trouble: list[str], tries: int, ends: str) -> None:
    made = []

    def init() -> None:
        made.append(1)
        if trouble:
            raise Exception(trouble.pop(0))

    with pytest.raises(Exception, match=ends) if ends else nullcontext():
        pools_module._start(init)
    assert len(made) == tries
