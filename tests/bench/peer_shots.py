"""Runs in an environment of its own: PySceneDetect's shots, or OpenCV's frames, of a file; one JSON object on stdout.

`python peer_shots.py shots|frames FILE`
"""

import json
import sys
import time

import cv2

cv2.setNumThreads(1)


def shots(path: str) -> list[float]:
    """Where AdaptiveDetector, as it comes, begins a scene."""
    from scenedetect import AdaptiveDetector, detect

    return [start.get_seconds() for start, _ in detect(path, AdaptiveDetector())[1:]]


def frames(path: str) -> list[float]:
    """Every frame as a full picture, the wanted ones (1.6 a second) made small."""
    capture = cv2.VideoCapture(path)
    every = max(1, round(capture.get(cv2.CAP_PROP_FPS) / 1.6))
    count = 0
    while True:
        is_there, pixels = capture.read()
        if not is_there:
            return []
        if count % every == 0:
            cv2.resize(pixels, (336, 336), interpolation=cv2.INTER_AREA)
        count += 1


if __name__ == "__main__":
    began = time.process_time()
    found = {"shots": shots, "frames": frames}[sys.argv[1]](sys.argv[2])
    print(json.dumps({"cuts_s": found, "cpu_s": time.process_time() - began}))
