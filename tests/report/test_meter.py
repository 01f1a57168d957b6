"""A meter measures its own blocks, of its own scope, and nothing else."""

import threading
import time

from shotlake.report.meter import Meter


def burn(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass


def test_sleep_is_wall_and_not_cpu_and_blocks_add_up():
    meter = Meter("thread")
    for _ in range(2):
        with meter:
            burn(0.05)
            time.sleep(0.05)
    burn(0.05)
    assert 0.1 <= meter.usage.cpu_s < 0.15
    assert meter.usage.wall_s >= 0.2
    assert meter.usage.gpu_s == 0


def test_another_thread_counts_for_the_process_only():
    process, thread = Meter("process"), Meter("thread")
    with process, thread:
        worker = threading.Thread(target=burn, args=(0.1,))
        worker.start()
        worker.join()
    assert process.usage.cpu_s >= 0.1
    assert thread.usage.cpu_s < 0.1


def test_a_held_gpu_is_wall_seconds_times_its_share():
    meter = Meter(gpus=0.5)
    with meter:
        time.sleep(0.02)
    assert meter.usage.gpu_s == meter.usage.wall_s * 0.5


def test_bytes_and_requests_are_counted_and_an_exception_still_is_measured():
    meter = Meter("thread")
    try:
        with meter:
            meter.count(bytes_read=10, requests=1)
            burn(0.02)
            raise KeyError
    except KeyError:
        meter.count(bytes_read=5, requests=1)
    assert (meter.usage.bytes_read, meter.usage.requests) == (15, 2)
    assert meter.usage.cpu_s >= 0.02
