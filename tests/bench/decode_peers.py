"""What other pipelines do with the same file, in CPU seconds; each in a process of its own, one thread where it can."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av

HERE = Path(__file__).parent
VENV = HERE.parents[1] / ".venv-peers"


def peer_python() -> Path | None:
    """The interpreter that has PySceneDetect and OpenCV, made here if a package registry is at hand."""
    python = VENV / "bin" / "python"
    if not (VENV / ".done").exists():
        install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / "peers-requirements.txt"]
        for command in ([sys.executable, "-m", "venv", VENV], install):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return None
        (VENV / ".done").touch()
    return python


def ask_peer(python: Path, what: str, path: Path) -> dict:
    """What `peer_shots.py` prints of a file."""
    environ = {**os.environ, "OPENCV_FFMPEG_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [python, HERE / "peer_shots.py", what, path]
    return json.loads(subprocess.run(command, capture_output=True, check=True, env=environ).stdout)


def reencode_cpu_s(path: Path, folder: Path) -> tuple[float, str]:
    """Chunks of 30 s at 480 lines and 5 frames a second, as several pipelines cut them: (CPU s, by what)."""
    if ffmpeg := shutil.which("ffmpeg"):
        encode = "-c:v libx264 -preset veryfast -threads 1 -c:a aac -f segment -segment_time 30"
        options = ["-vf", "scale=-2:480,fps=5", *encode.split(" ")]
        command = [ffmpeg, "-v", "error", "-threads", "1", "-i", path, *options, folder / "c%03d.mp4"]
        by = "ffmpeg"
    else:
        command = [sys.executable, __file__, path, folder]
        by = "PyAV, which does what the ffmpeg command would; pictures only"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, by


def reencode(path: Path, folder: Path) -> None:
    """The same with PyAV."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        width = 2 * round(240 * stream.width / stream.height)
        out, chunk, number = None, -1, 0
        for frame in container.decode(stream):
            if frame.time * 5 < number:
                continue
            if int(number / 150) > chunk:
                _finish(out)
                chunk = int(number / 150)
                out = av.open(str(folder / f"c{chunk:03d}.mp4"), "w")
                made = out.add_stream("libx264", rate=5, options={"preset": "veryfast", "threads": "1"})
                made.width, made.height, made.pix_fmt = width, 480, "yuv420p"
            small = frame.reformat(width, 480, "yuv420p", threads=1)
            small.pts, small.time_base = number % 150, Fraction(1, 5)
            out.mux(made.encode(small))
            number += 1
        _finish(out)


def _finish(out: av.container.OutputContainer | None) -> None:
    if out is not None:
        out.mux(out.streams.video[0].encode(None))
        out.close()


if __name__ == "__main__":
    reencode(Path(sys.argv[1]), Path(sys.argv[2]))
